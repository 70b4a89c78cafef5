"""Every gradient has one place, the last ones travel first, and no bucket is much too large."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from beowulf.train.buckets import group, lay_out

F4: np.dtype[np.floating] = np.dtype(np.float32)
F8: np.dtype[np.floating] = np.dtype(np.float64)
OUTLINES = st.lists(
    st.tuples(st.sampled_from([F4, F8]), st.lists(st.integers(0, 9), max_size=3).map(tuple)),
    max_size=12,
)


@given(outlines=OUTLINES, most_bytes=st.integers(1, 500))
def test_every_array_is_in_one_bucket_of_its_type_which_is_no_larger_than_it_must_be(
    outlines: list[tuple[np.dtype[np.floating], tuple[int, ...]]], most_bytes: int
) -> None:
    groups = group(outlines, most_bytes)
    assert sorted(index for members in groups for index in members) == list(range(len(outlines)))
    for members in groups:
        assert len({outlines[index][0] for index in members}) == 1
        sizes = [math.prod(outlines[i][1]) * outlines[i][0].itemsize for i in members]
        assert sum(sizes) <= most_bytes or len(members) == 1
        assert members == sorted(members, reverse=True)
    ends = [members[-1] for members in groups]
    assert ends == sorted(ends, reverse=True)


def test_the_last_gradients_travel_first_and_a_large_one_alone() -> None:
    outlines = [(F4, (10,)), (F4, (100,)), (F4, (5,)), (F4, (5,))]
    assert group(outlines, most_bytes=100) == [[3, 2], [1], [0]]


def test_types_do_not_mix_and_a_bucket_leaves_when_its_last_gradient_is_there() -> None:
    outlines = [(F8, (2,)), (F4, (2,)), (F8, (2,)), (F4, (2,))]
    assert group(outlines, most_bytes=100) == [[3, 1], [2, 0]]


@given(outlines=OUTLINES, most_bytes=st.integers(1, 500), room=st.integers(0, 3))
def test_places_are_views_that_together_fill_the_buckets(
    outlines: list[tuple[np.dtype[np.floating], tuple[int, ...]]], most_bytes: int, room: int
) -> None:
    buckets, places, behind = lay_out(outlines, most_bytes, room_behind=room, first_index=5)
    assert [(place.dtype, place.shape) for place in places] == outlines
    assert [bucket.index for bucket in buckets] == list(range(5, 5 + len(buckets)))
    for number, place in enumerate(places):
        place[...] = number + 1
    if outlines:
        assert behind.size == room
        behind[...] = -1
    for bucket in buckets:
        assert bucket.flat.flags.c_contiguous
        assert not (bucket.flat == 0).any()
        held = np.concatenate([place.ravel() for place in bucket.places])
        np.testing.assert_array_equal(bucket.flat[: held.size], held)
        assert bucket.flat.size - held.size == (room if bucket is buckets[-1] else 0)

"""An arena lends arrays that don't overlap, and after a while makes no new ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from beowulf.train.arena import Arena

WISHES = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["f4", "f8", "i2"])), max_size=9)


@given(rounds=st.lists(WISHES, min_size=1, max_size=4))
def test_arrays_keep_what_was_written_until_they_are_taken_back(
    rounds: list[list[tuple[int, str]]],
) -> None:
    arena = Arena()
    for wishes in rounds:
        lent = [arena.take(length, np.dtype(kind)) for length, kind in wishes]
        for number, array in enumerate(lent):
            array[...] = number
        for number, (array, (length, kind)) in enumerate(zip(lent, wishes, strict=True)):
            assert array.dtype == kind
            assert array.tolist() == [number] * length
        arena.take_back()


def test_the_same_wishes_get_the_same_memory() -> None:
    arena = Arena()
    for _ in range(2):
        first = arena.take(1000, np.dtype(np.float32))
        arena.take(500, np.dtype(np.float64))
        arena.take_back()
    again = arena.take(1000, np.dtype(np.float32))
    assert np.shares_memory(first, again)

"""A copy is of the moment when it was taken, and there is memory for one."""

from __future__ import annotations

import numpy as np

from beowulf.train.copies import Copies, outlines_of
from beowulf.train.state import PackedState, pack


def state(size: int, value: float) -> PackedState:
    return pack({"weights": [np.full(size, value), np.full((2, 3), int(value))], "step": 7})


def test_what_is_trained_on_does_not_change_a_copy() -> None:
    weights = np.zeros(5)
    copied = Copies().of(pack({"weights": weights}))
    weights += 1.0
    assert copied.arrays[0].tolist() == [0.0] * 5


def test_the_next_copy_takes_the_same_memory() -> None:
    copies = Copies()
    first = copies.of(state(5, 1.0))
    second = copies.of(state(5, 2.0))
    assert second.tree == state(5, 2.0).tree
    for one, other, value in zip(first.arrays, second.arrays, (2.0, 2), strict=True):
        assert one is other
        assert (other == value).all()


def test_arrays_that_have_changed_their_shape_get_memory_of_their_own() -> None:
    copies = Copies()
    copies.of(state(5, 1.0))
    grown = copies.of(state(6, 2.0))
    assert [array.shape for array in grown.arrays] == [(6,), (2, 3)]
    assert [array.shape for array in copies.of(PackedState(None, [])).arrays] == []


def test_memory_for_a_large_state_is_made_before() -> None:
    large = state(1 << 20, 1.0)
    copies = Copies()
    assert copies.have_room_for(state(5, 1.0))
    assert not copies.have_room_for(large)
    copies.make_room(outlines_of(large))
    assert copies.have_room_for(large)
    assert (copies.of(large).arrays[0] == 1.0).all()


def test_any_type_has_room() -> None:
    kinds = ("?", "U3", "S2", "M8[s]", "i2", "c16", "V3", [("a", "f4"), ("b", "i1", (2,))])
    given = PackedState(None, [np.zeros((2, 2), kind) for kind in kinds])
    copies = Copies()
    copies.make_room(outlines_of(given))
    for one, other in zip(copies.of(given).arrays, given.arrays, strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()

"""A copy of a run's state, taken between two steps, into memory that is used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.train.state import PackedState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Outline = tuple[np.dtype[Any], tuple[int, ...]]

FAST_BYTES = 1 << 20  # so much new memory is there at once


class Copies:
    """Room for one copy of a state, which is overwritten by the next."""

    def __init__(self) -> None:
        self._room: list[NDArray[Any]] = []

    def have_room_for(self, state: PackedState) -> bool:
        """Say whether a copy would be made at once.

        The system gives memory page by page when it is first written to, which takes many
        times as long as to copy into it.
        """
        missing = (
            array.nbytes
            for index, array in enumerate(state.arrays)
            if not self._fits(index, _outline(array))
        )
        return sum(missing) <= FAST_BYTES

    def make_room(self, outlines: Sequence[Outline]) -> None:
        """Have memory for arrays of these types and shapes, ready to be copied into."""
        room = [self._place(index, outline) for index, outline in enumerate(outlines)]
        for place in room:
            place[...] = np.zeros((), place.dtype)
        self._room = room

    def of(self, state: PackedState) -> PackedState:
        """Copy a state; the copy taken before is overwritten."""
        room = [self._place(index, _outline(array)) for index, array in enumerate(state.arrays)]
        for place, array in zip(room, state.arrays, strict=True):
            np.copyto(place, array)
        self._room = room
        return PackedState(state.tree, list(room))

    def _place(self, index: int, outline: Outline) -> NDArray[Any]:
        dtype, shape = outline
        return self._room[index] if self._fits(index, outline) else np.empty(shape, dtype)

    def _fits(self, index: int, outline: Outline) -> bool:
        return index < len(self._room) and _outline(self._room[index]) == outline


def outlines_of(state: PackedState) -> list[Outline]:
    """Return the types and shapes of a state's arrays."""
    return [_outline(array) for array in state.arrays]


def _outline(array: NDArray[Any]) -> Outline:
    return array.dtype, array.shape

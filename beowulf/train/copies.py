"""A copy of a run's state, taken between two steps, into memory that is used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.train.state import PackedState

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Copies:
    """Room for one copy of a state, which is made when it is first needed."""

    def __init__(self) -> None:
        self._room: list[NDArray[Any]] = []

    def of(self, state: PackedState) -> PackedState:
        """Copy a state; the copy taken before is overwritten."""
        room = [self._place(index, array) for index, array in enumerate(state.arrays)]
        for place, array in zip(room, state.arrays, strict=True):
            np.copyto(place, array)
        self._room = room
        return PackedState(state.tree, list(room))

    def _place(self, index: int, array: NDArray[Any]) -> NDArray[Any]:
        if index < len(self._room):
            place = self._room[index]
            if place.dtype == array.dtype and place.shape == array.shape:
                return place
        return np.empty(array.shape, array.dtype)

"""NumPy gradients: those that lie in buckets, and those that a script made itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.train.buckets import Bucket
from beowulf.train.gradients import outline_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from beowulf.train.buckets import Outline
    from beowulf.train.shipment import Shipment

    Arrays = Sequence[NDArray[np.floating]]

LARGE_BYTES = 256 * 1024  # measured on one node; docs/benchmarks.md


class OwnArrays:
    """Arrays that are parts of buckets, in which a script computes its gradients.

    One that was said to be ready cannot be written to until it is averaged: the change
    might or might not reach the other ranks.
    """

    def __init__(self, shipment: Shipment) -> None:
        self.shipment = shipment
        self.arrays = shipment.places
        self._index_of = {id(array): index for index, array in enumerate(self.arrays)}
        self._sealed: list[int] = []

    def are(self, found: Sequence[object]) -> bool:
        """Say whether these are the arrays themselves, all of them, in their order."""
        mine = self.arrays
        if len(found) != len(mine):
            return False
        for one, other in zip(found, mine, strict=True):  # noqa: SIM110 - all() takes twice as long
            if one is not other:
                return False
        return True

    def index_of(self, array: object) -> int | None:
        """Return which of the arrays this is, if any."""
        return self._index_of.get(id(array))

    def seal(self, index: int) -> bool:
        """Let an array not be written to; say whether it could be until now."""
        flags = self.arrays[index].flags
        if not flags.writeable:
            return False
        flags.writeable = False
        self._sealed.append(index)
        return True

    def unseal(self) -> None:
        """Let all arrays be written to again."""
        for index in self._sealed:
            self.arrays[index].flags.writeable = True
        self._sealed.clear()


class BroughtArrays:
    """Arrays that lie apart: the small ones are gathered, a large one travels by itself.

    Large ones are exchanged where they are: copying them to and fro would take longer
    than their message saves.
    """

    def __init__(
        self, arrays: Arrays, new_buckets: Callable[[Sequence[Outline]], Shipment]
    ) -> None:
        self._outlines = [(array.dtype, array.shape) for array in arrays]
        self._large = [i for i, array in enumerate(arrays) if _is_large(array)]
        self._small = [i for i in range(len(arrays)) if i not in set(self._large)]
        self.shipment = new_buckets([outline_of(arrays[index]) for index in self._small])
        self.shipment.divides = False  # it is done on the way back, in one go

    def fit(self, found: Sequence[Any]) -> bool:
        """Say whether these are arrays of the types and shapes of those seen first."""
        return len(found) == len(self._outlines) and all(
            isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape
            for array, (dtype, shape) in zip(found, self._outlines, strict=True)
        )

    def gather(self, arrays: Arrays) -> None:
        """Copy the small arrays into their buckets."""
        for index, place in zip(self._small, self.shipment.places, strict=True):
            place[...] = arrays[index]

    def scatter(self, arrays: Arrays, divide: np.ufunc, divisor: float) -> None:
        """Divide what came back into the small arrays."""
        for index, place in zip(self._small, self.shipment.places, strict=True):
            divide(place, divisor, out=arrays[index])

    def exchange_large(
        self, arrays: Arrays, exchange: Callable[[Bucket], None], divide: np.ufunc, divisor: float
    ) -> None:
        """Exchange each large array as a bucket of its own, behind the others. Collective."""
        behind = self.shipment.first_index + len(self.shipment.buckets)
        for number, index in enumerate(self._large, behind):
            total = np.ascontiguousarray(arrays[index])  # as good as always the array itself
            exchange(Bucket(number, total.reshape(-1), (total,)))
            divide(total, divisor, out=arrays[index])

    @property
    def large(self) -> int:
        """How many arrays travel by themselves."""
        return len(self._large)


def _is_large(array: NDArray[np.floating]) -> bool:
    """Say whether an array travels by itself. Every rank must come to the same answer."""
    dtype, shape = outline_of(array)
    return dtype == array.dtype and math.prod(shape) * dtype.itemsize >= LARGE_BYTES

"""Average gradients over all samples of a step, wherever they were computed.

Every rank brings the *sum* of its samples' gradients. The result is the sum over
all ranks divided by the number of samples in the global batch, so that ranks with
unequal shares count for what they did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from mpi4py import MPI

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Arrays = Sequence[NDArray[np.floating]]


class Averaging(Protocol):
    """A way to average. Collective: a missing rank leaves the others waiting."""

    def __call__(self, comm: MPI.Comm, arrays: Arrays, samples: int) -> None:
        """Replace each array, in place, by its sum over all ranks divided by ``samples``."""


def naive(comm: MPI.Comm, arrays: Arrays, samples: int) -> None:
    """Average one array after the other. Slow and plain: what every other way must equal."""
    for array in arrays:
        total = np.ascontiguousarray(array)
        comm.Allreduce(MPI.IN_PLACE, total)
        array[...] = total / samples


class Dense:
    """Average all arrays of one type in one piece, in a buffer that is kept between steps.

    Moves the same numbers as ``naive`` in one message instead of one per array.
    """

    def __init__(self) -> None:
        self._buffers: dict[np.dtype[np.floating], NDArray[np.floating]] = {}

    def __call__(self, comm: MPI.Comm, arrays: Arrays, samples: int) -> None:
        """Replace each array by its sum over all ranks divided by ``samples``. Collective."""
        if comm.size == 1:  # nothing to exchange, so nothing to gather either
            for array in arrays:
                np.divide(array, samples, out=array)
            return
        by_type: dict[np.dtype[np.floating], list[NDArray[np.floating]]] = {}
        for array in arrays:
            by_type.setdefault(array.dtype, []).append(array)
        for dtype, group in by_type.items():
            self._average(comm, dtype, group, samples)

    def _average(
        self, comm: MPI.Comm, dtype: np.dtype[np.floating], arrays: Arrays, samples: int
    ) -> None:
        size = sum(array.size for array in arrays)
        flat = self._buffers.get(dtype)
        if flat is None or flat.size != size:
            flat = self._buffers[dtype] = np.empty(size, dtype)
        np.concatenate([array.ravel() for array in arrays], out=flat)
        comm.Allreduce(MPI.IN_PLACE, flat)
        flat /= samples
        start = 0
        for array in arrays:
            array[...] = flat[start : start + array.size].reshape(array.shape)
            start += array.size


STRATEGIES: dict[str, Callable[[], Averaging]] = {"naive": lambda: naive, "dense": Dense}


def averaging_named(name: str) -> Averaging:
    """Return a fresh averaging strategy.

    Raises:
        TrainingError: There is none of this name.
    """
    if name not in STRATEGIES:
        raise TrainingError(f"averaging: no strategy {name!r}; choose from {', '.join(STRATEGIES)}")
    return STRATEGIES[name]()


def refuse_unsummable(arrays: Arrays) -> None:
    """Raise TrainingError unless MPI can add these arrays up.

    Open MPI knows no 16-bit floats of NumPy's and adds types that it does not know
    as bytes, without a word.
    """
    for array in arrays:
        if array.dtype not in (np.float32, np.float64):
            raise TrainingError(
                f"gradients: MPI cannot add up {array.dtype}; convert them to float32 or float64"
            )

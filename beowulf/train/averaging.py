"""Average gradients over all samples of a step, wherever they were computed.

Every rank brings the *sum* of its samples' gradients. The result is the sum over
all ranks divided by the number of samples in the global batch, so that ranks with
unequal shares count for what they did.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from mpi4py import MPI

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Arrays = Sequence[NDArray[np.floating]]
    Outline = tuple[np.dtype[np.floating], tuple[int, ...]]  # an array's type and shape


LARGE_BYTES = 256 * 1024  # measured on one node; docs/benchmarks.md
SUMMABLE = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


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
    """Average the small arrays of each type in one message, and every large one by itself.

    Small ones are gathered in a buffer that is kept between steps: a message costs time
    however little is in it. Large ones are exchanged where they are: copying them to
    and fro would take longer than their message saves.
    """

    def __init__(self) -> None:
        self._outlines: list[Outline] = []
        self._large: list[int] = []
        self._messages: list[Message] = []

    def __call__(self, comm: MPI.Comm, arrays: Arrays, samples: int) -> None:
        """Replace each array by its sum over all ranks divided by ``samples``. Collective."""
        divide, divisor = division_by(samples)
        if comm.size == 1:  # nothing to exchange, so nothing to gather either
            for array in arrays:
                divide(array, divisor, out=array)
            return
        outlines = [(array.dtype, array.shape) for array in arrays]
        if outlines != self._outlines:
            self._outlines = outlines
            self._large = [index for index, outline in enumerate(outlines) if is_large(outline)]
            self._messages = compose(outlines)
        for index in self._large:
            total = np.ascontiguousarray(arrays[index])  # as good as always the array itself
            comm.Allreduce(MPI.IN_PLACE, total)
            divide(total, divisor, out=arrays[index])
        for message in self._messages:
            for index, place in message.places:
                place[...] = arrays[index]
            comm.Allreduce(MPI.IN_PLACE, message.buffer)
            for index, place in message.places:
                divide(place, divisor, out=arrays[index])


def division_by(samples: int) -> tuple[np.ufunc, float]:
    """Return a function and a number that divide by ``samples`` when put together.

    The reciprocal of a power of two is exact, so that multiplying by it gives the very
    same bits, in half the time or less.
    """
    if samples & (samples - 1) == 0:
        return np.multiply, 1 / samples
    return np.divide, samples


def is_large(outline: Outline) -> bool:
    """Say whether an array travels by itself. Every rank must come to the same answer."""
    dtype, shape = outline
    return math.prod(shape) * dtype.itemsize >= LARGE_BYTES


@dataclass(frozen=True)
class Message:
    """A flat buffer, and where in it each array lies: (index of the array, its place)."""

    buffer: NDArray[np.floating]
    places: list[tuple[int, NDArray[np.floating]]]


def compose(outlines: Sequence[Outline]) -> list[Message]:
    """Return one message per type, with a place for every small array of that type in it."""
    small = [(i, *outline) for i, outline in enumerate(outlines) if not is_large(outline)]
    messages = []
    for dtype in dict.fromkeys(dtype for _, dtype, _ in small):
        mine = [(i, shape) for i, of_type, shape in small if of_type == dtype]
        ends = list(itertools.accumulate(math.prod(shape) for _, shape in mine))
        buffer = np.empty(ends[-1], dtype)
        pieces = np.split(buffer, ends[:-1])
        places = [(i, piece.reshape(shape)) for (i, shape), piece in zip(mine, pieces, strict=True)]
        messages.append(Message(buffer, places))
    return messages


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
        if array.dtype not in SUMMABLE:
            raise TrainingError(
                f"gradients: MPI cannot add up {array.dtype}; convert them to float32 or float64"
            )

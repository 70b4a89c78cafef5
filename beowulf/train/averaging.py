"""Average gradients over all samples of a step, wherever they were computed.

Every rank brings the *sum* of its samples' gradients. The result is the sum over
all ranks divided by the number of samples in the global batch, so that ranks with
unequal shares count for what they did.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from mpi4py import MPI

from beowulf.train.control import Told, hear, room, tell
from beowulf.train.gradients import checked, is_torch_module, like, listed, outline_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Arrays = Sequence[NDArray[np.floating]]


def naive(comm: MPI.Comm, arrays: Arrays, samples: int) -> None:
    """Average one array after the other. Slow and plain: what every other way must equal."""
    for array in arrays:
        total = np.ascontiguousarray(array)
        comm.Allreduce(MPI.IN_PLACE, total)
        array[...] = total / samples


@dataclass(slots=True)
class Step:
    """Where this rank stands: samples of the step, over all ranks and its own; what it does."""

    samples: int = 1
    share: int = 0
    is_last_part: bool = False
    overlaps: bool = False


class Averaging(Protocol):
    """A way to average, from the beginning of a run to its end."""

    step: Step

    @property
    def keeps_equal(self) -> bool:
        """Whether all ranks hold the same parameters after the step that was averaged last."""

    def begin(self, samples: int, share: int) -> None:
        """Begin a step of so many samples, of which this rank has ``share``."""

    def gradients(self, shaped_as: Any) -> Any:
        """Return arrays of zeros to compute gradients in. Collective."""

    def ready(self, gradient: NDArray[np.floating]) -> None:
        """Note that one of these arrays is complete, if this is the step's last micro-batch."""

    def average(self, gradients: Any, loss: float, compute_s: float) -> Told:
        """Average in place over all ranks. Collective: a missing rank leaves the others waiting."""

    def adopt(self, tracked: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - for those who do
        """Take note of what the run consists of; return what else checkpoints are to hold.

        Each name in it begins with ``beowulf.``. It is set in place when a run goes on.
        """
        return {}

    def end(self, *, is_last: bool) -> Told | None:  # noqa: ARG002 - as above
        """End a step, when the script has put the gradients to use. Perhaps collective.

        Returns what is known better now than when the gradients were averaged.
        """
        return None

    @property
    def is_settled(self) -> bool:
        """Whether all there is to a run is in what it tracks now, so that it can be saved."""
        return True

    def carry_on(self, comm: MPI.Intracomm) -> None:
        """Average among those who are left after a loss, and forget the step it came into.

        What ranks tell keeps its places: a rank that was lost told nothing. Collective
        over those who are left.
        """

    def close(self, *, wait: bool) -> None:
        """Let go of threads and hooks; ``wait`` for them unless another rank may be missing."""


class Naive(Averaging):
    """Average with ``naive``, and tell everybody what is to be told by a message of its own."""

    keeps_equal = True

    def __init__(self, comm: MPI.Comm) -> None:
        self.step = Step()
        self._rank, self._size = comm.rank, comm.size
        self._comm = comm

    def begin(self, samples: int, share: int) -> None:
        """Begin a step."""
        self.step = Step(samples, share)

    def carry_on(self, comm: MPI.Intracomm) -> None:
        """Average among those who are left."""
        self._comm = comm

    def gradients(self, shaped_as: Any) -> Any:
        """Return arrays of zeros. Not collective."""
        outlines = [outline_of(array) for array in listed(shaped_as)]
        return like(shaped_as, [np.zeros(shape, dtype) for dtype, shape in outlines])

    def ready(self, gradient: NDArray[np.floating]) -> None:
        """Do nothing: everything travels at the end."""

    def average(self, gradients: Any, loss: float, compute_s: float) -> Told:
        """Average array after array. Collective."""
        if is_torch_module(gradients):
            from beowulf.train.torch_plain import average_plainly  # noqa: PLC0415 - optional extra

            average = functools.partial(naive, self._comm)
            average_plainly(gradients, average, self.step.samples, self.step.share)
        else:
            found = checked(listed(gradients))
            wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in found]
            naive(self._comm, wide, self.step.samples)
            for array, result in zip(found, wide, strict=True):
                if array is not result:
                    array[...] = result
        vector = np.zeros(room(self._size))
        tell(vector, self._rank, self._size, loss, compute_s)
        self._comm.Allreduce(MPI.IN_PLACE, vector)
        return hear(vector, self._size)

    def close(self, *, wait: bool) -> None:
        """Do nothing."""


def division_by(samples: int) -> tuple[np.ufunc, float]:
    """Return a function and a number that divide by ``samples`` when put together.

    The reciprocal of a power of two is exact, so that multiplying by it gives the very
    same bits, in half the time or less.
    """
    if samples & (samples - 1) == 0:
        return np.multiply, 1 / samples
    return np.divide, samples

"""Which samples each step trains on: one permutation per epoch, drawn from one seed.

A step's samples depend on the seed, the number of samples, the global batch and the
step's number, and on nothing else: not on how many ranks there are, nor on their shares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Schedule:
    """The order of all samples over all epochs. Steps and epochs are counted from 0."""

    samples: int
    global_batch: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """How many steps show every sample once; the last one may be smaller."""
        return -(-self.samples // self.global_batch)

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of the samples in one epoch, shape (samples,)."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)

    def global_batches(self, start: int, stop: int) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """Yield the number, the epoch and the samples of each step from ``start`` to ``stop``."""
        length = self.steps_per_epoch
        for epoch in range(start // length, -(-stop // length)):
            permutation = self.permutation(epoch)
            for step in range(max(start, epoch * length), min(stop, (epoch + 1) * length)):
                first = (step - epoch * length) * self.global_batch
                yield step, epoch, permutation[first : first + self.global_batch]


class Progress(Protocol):
    """Whoever wants to know that a step's last micro-batch is being computed."""

    is_last_part: bool


@dataclass(slots=True)  # not frozen: that would double what making one per step costs
class Batch:
    """One rank's part of one step. Iterate over it to get index arrays, one per micro-batch.

    An empty share yields nothing: the loop's body does not run, and this rank takes
    part in the step with gradients of zero.
    """

    step: int
    epoch: int
    samples: int
    shares: tuple[int, ...]
    indices: NDArray[np.int64] = field(repr=False)
    micro_batch: int | None = None
    progress: Progress | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Yield the indices of this rank's samples, at most ``micro_batch`` at a time."""
        count = len(self.indices)
        if 0 < count <= (self.micro_batch or count):
            if self.progress is not None:
                self.progress.is_last_part = True
            return iter((self.indices,))  # nearly always, so without a generator
        return self._parts(count, self.micro_batch or 1)

    def _parts(self, count: int, most: int) -> Iterator[NDArray[np.int64]]:
        for first in range(0, count, most):
            if self.progress is not None:
                self.progress.is_last_part = first + most >= count
            yield self.indices[first : first + most]

"""Send low-rank approximations of gradients, and what they leave out with the next ones.

Vogels, Karimireddy and Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for
Distributed Optimization", 2019, arXiv:1905.13727. A matrix M of n x m numbers, the sum of
the ranks' M_i, travels as two thin ones: P = sum of M_i Q, whose columns are then made
orthonormal, and the new Q = sum of M_i^T P. Everybody takes P Q^T for M. With the Q of the
step before (warm start) this is power iteration: it follows the largest directions.

Each rank keeps its error, M_i - P (M_i^T P)^T, and adds it to its next gradient. These errors
add up to what is missing in P Q^T, whatever the shares were, also if one was empty. Sums over
samples are divided by the number of samples later; so that an error weighs as much as it
would have, it is scaled when that number changes, as with the last batch of an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from beowulf.train.arena import Arena
from beowulf.train.lowrank import (
    as_matrix,
    cut,
    is_worth_it,
    multiply_out,
    numbers_of,
    orthonormalize,
    scale_rows,
)
from beowulf.train.parts import Parts

if TYPE_CHECKING:
    from mpi4py import MPI
    from numpy.typing import NDArray

    from beowulf.train.buckets import Bucket

    Floats = NDArray[np.floating]

SEED = 190513727  # of the first Q's; they must be the same on every rank


@dataclass(frozen=True)
class Compressed:
    """What is kept of a matrix: Q^T, and what this rank has not sent of its own yet."""

    right: Floats
    error: Floats

    def begin(self, matrix: Floats, rescale: float, left: Floats) -> None:
        """Add the error to this rank's matrix, and set ``left`` to this rank's P^T."""
        self.error[...] *= rescale
        matrix += self.error
        np.matmul(self.right, matrix.T, out=left)

    def go_on(self, matrix: Floats, left: Floats, right: Floats) -> None:
        """Set ``right`` to this rank's new Q^T, for everybody's P^T, and note the error."""
        np.matmul(left, matrix, out=right)
        np.matmul(left.T, right, out=self.error)
        np.subtract(matrix, self.error, out=self.error)

    def end(self, matrix: Floats, left: Floats, right: Floats, rng: np.random.Generator) -> None:
        """Set the matrix to P Q^T, everybody's, and keep Q for the next step.

        A direction in which there was nothing is replaced by a new one, or it would stay
        empty for ever.
        """
        multiply_out(left, right, matrix)
        self.right[...] = right
        scale_rows(self.right)
        for row in self.right:
            if not row.any():
                row[...] = rng.normal(size=row.size)


@dataclass
class Memory:
    """What is kept of a bucket. Errors are those of sums over so many ``samples``."""

    matrices: list[Compressed]
    rng: np.random.Generator  # in the same state on every rank
    samples: int = 0
    steps: int = 0

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of the matrices that are compressed."""
        return [kept.error.shape for kept in self.matrices]


class LowRank:
    """The exchange. It keeps a memory of each bucket."""

    is_exact: ClassVar[bool] = False

    def __init__(self, rank: int, uncompressed_steps: int) -> None:
        self._samples = 1
        self._rank = rank
        self._uncompressed_steps = uncompressed_steps
        self.memories: dict[int, Memory] = {}
        self._parts = Parts()
        self._arena = Arena()

    def begin(self, samples: int) -> None:
        """Note for how many samples, over all ranks, the sums of this step are."""
        self._samples = samples

    def __call__(self, comm: MPI.Comm, bucket: Bucket) -> None:
        """Replace ``bucket.flat`` by an approximation of its sum over all ranks. Collective."""
        matrices = [as_matrix(p) for p in bucket.places if is_worth_it(p.shape, self._rank)]
        memory = self._memory_of(bucket.index, matrices)
        memory.steps += 1
        if not matrices or memory.steps <= self._uncompressed_steps:
            self._parts.add_up(comm, bucket.flat)
        else:
            rest = [p for p in bucket.places if not is_worth_it(p.shape, self._rank)]
            self._compress(comm, memory, matrices, rest)
            self._arena.take_back()

    def _memory_of(self, bucket: int, matrices: list[Floats]) -> Memory:
        """Return a bucket's memory, a fresh one if its matrices are others than before."""
        memory = self.memories.get(bucket)
        if memory is None or memory.shapes != [matrix.shape for matrix in matrices]:
            rng = np.random.default_rng([SEED, bucket])
            memory = self.memories[bucket] = Memory(
                [self._nothing_yet(matrix, rng) for matrix in matrices], rng
            )
        return memory

    def _nothing_yet(self, matrix: Floats, rng: np.random.Generator) -> Compressed:
        right = rng.normal(size=(self._rank, matrix.shape[1])).astype(matrix.dtype)
        return Compressed(right, np.zeros_like(matrix))

    def _compress(
        self, comm: MPI.Comm, memory: Memory, matrices: list[Floats], rest: list[Floats]
    ) -> None:
        """Exchange P and Q. The ``rest`` is added up as it is, and travels with P. Collective."""
        dtype, rank = matrices[0].dtype, self._rank
        kept = memory.matrices
        rescale = self._samples / (memory.samples or self._samples)
        memory.samples = self._samples

        shapes = [(rank, len(matrix)) for matrix in matrices]
        first, places = self._message([*shapes, *(place.shape for place in rest)], dtype)
        lefts, copies = places[: len(matrices)], places[len(matrices) :]
        for one, matrix, left in zip(kept, matrices, lefts, strict=True):
            one.begin(matrix, rescale, left)
        for place, copy in zip(rest, copies, strict=True):
            copy[...] = place
        self._parts.add_up(comm, first)
        for place, copy in zip(rest, copies, strict=True):
            place[...] = copy

        second, rights = self._message([(rank, matrix.shape[1]) for matrix in matrices], dtype)
        for one, matrix, left, right in zip(kept, matrices, lefts, rights, strict=True):
            orthonormalize(left)
            one.go_on(matrix, left, right)
        self._parts.add_up(comm, second)
        for one, matrix, left, right in zip(kept, matrices, lefts, rights, strict=True):
            one.end(matrix, left, right, memory.rng)

    def _message(
        self, shapes: list[tuple[int, ...]], dtype: np.dtype[np.floating]
    ) -> tuple[Floats, list[Floats]]:
        """Return a message with room for arrays of these shapes, and its places for them."""
        flat = self._arena.take(numbers_of(shapes), dtype)
        return flat, cut(flat, shapes)

"""Add up numbers over all ranks in parts: each rank adds up one part and sends it to all.

Rank i owns a contiguous part of the numbers, of relative size w_i. All ranks send it
their numbers of that part, it adds them up in the order of ranks, and sends the sum to
all. Every rank sends and receives S (1 + (n - 2) w_i) bytes, S being the size of it all:
with equal parts as much as in a ring, and a rank that owns nothing only S, whatever the
number of ranks. Hence two uses that MPI's own all-reduce has no place for: parts as large
as each rank's wire is fast, and numbers that travel in a type that MPI cannot add up.

Parts travel in pieces, so that sums of the first ones come back while the last ones are
still on their way there: a full-duplex wire is busy in both directions.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mpi4py import MPI

from beowulf.train.arena import Arena
from beowulf.train.shares import split
from beowulf.train.wires import AsTheyAre, Half

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from beowulf.train.buckets import Bucket
    from beowulf.train.wires import Message, Wire

    Floats = NDArray[np.floating]
    Rounds = tuple[tuple[slice, ...], ...]  # in each round, a piece of each rank's part

PIECE_BYTES = 32 * 1024  # a message leaves in one go if it is smaller than Open MPI's 64 KiB
MOST_BYTES = 1_000_000  # added up in one go: more only queues up, and lies in buffers
CONTRIBUTION, SUM = 1, 2  # tags


class Parts:
    """Adds up over all ranks, in parts in proportion to ``weights``; equal ones if None."""

    def __init__(self, wire: Wire | None = None, weights: Sequence[float] | None = None) -> None:
        self._wire = wire or AsTheyAre()
        self._weights = weights
        self._arena = Arena()

    def add_up(self, comm: MPI.Comm, flat: Floats) -> None:
        """Replace ``flat``, in place, by its sum over all ranks: the same bits on each.

        ``flat`` is contiguous, of one dimension, float32 or float64. Collective: a missing
        rank leaves the others waiting.
        """
        if comm.size == 1:
            return
        weights = tuple(self._weights or (1.0,) * comm.size)
        most = MOST_BYTES // flat.itemsize
        for first in range(0, flat.size, most):
            segment = flat[first : first + most]
            self._add_up(comm, segment, rounds_of(segment.size, segment.itemsize, weights))
            self._arena.take_back()

    def _add_up(self, comm: MPI.Comm, flat: Floats, rounds: Rounds) -> None:
        me, size = comm.rank, comm.size
        others = [(me + step) % size for step in range(1, size)]  # not all to the same at once
        arriving = [self._expect(comm, flat, [parts[me]] * size, CONTRIBUTION) for parts in rounds]
        returning = [self._expect(comm, flat, parts, SUM) for parts in rounds]
        contributions = [
            comm.Isend(self._wire.encode(flat[parts[owner]], self._arena), owner, CONTRIBUTION)
            for parts in rounds
            for owner in others
            if is_there(parts[owner])
        ]
        sums = []
        for parts, expected in zip(rounds, arriving, strict=True):
            if is_there(parts[me]):
                total = self._sum(flat[parts[me]], me, expected.wait())
                sums += [comm.Isend(total, other, SUM) for other in others]
        MPI.Request.Waitall(contributions)  # they may leave from where the sums are put now
        for parts, expected in zip(rounds, returning, strict=True):
            for owner, message in expected.wait().items():
                self._wire.decode(message, flat[parts[owner]])
        MPI.Request.Waitall(sums)

    def _expect(self, comm: MPI.Comm, flat: Floats, parts: Sequence[slice], tag: int) -> Expected:
        """Begin to receive from each other rank a message about its piece of ``parts``."""
        messages = {
            rank: self._wire.empty(part.stop - part.start, flat.dtype, self._arena)
            for rank, part in enumerate(parts)
            if rank != comm.rank and is_there(part)
        }
        requests = [comm.Irecv(message, rank, tag) for rank, message in messages.items()]
        return Expected(messages, requests)

    def _sum(self, values: Floats, me: int, contributions: dict[int, Message]) -> Message:
        """Add up a piece in the order of ranks, and return the message that tells the sum.

        ``values`` become what everybody reads from that message.
        """
        total = self._arena.take(values.size, values.dtype)
        total[...] = 0
        for rank in range(len(contributions) + 1):
            if rank == me:
                total += values
            else:
                self._wire.add(contributions[rank], total, self._arena)
        message = self._wire.encode(total, self._arena)
        self._wire.decode(message, values)
        return message


@dataclass(frozen=True)
class Expected:
    """Messages that are being received, by sender."""

    messages: dict[int, Message]
    requests: list[MPI.Request]

    def wait(self) -> dict[int, Message]:
        """Return the messages once all of them are there."""
        MPI.Request.Waitall(self.requests)
        return self.messages


def is_there(part: slice) -> bool:
    """Say whether there is anything in a part."""
    return bool(part.stop > part.start)


@functools.cache  # a run has few sizes of buckets
def rounds_of(numbers: int, itemsize: int, weights: tuple[float, ...]) -> Rounds:
    """Return for each round a piece of every rank's part; together they are all numbers.

    Parts are contiguous, in the order of ranks, of sizes in proportion to ``weights``.
    There are as many rounds as it takes for no piece to be larger than ``PIECE_BYTES``.
    """
    sizes = split(numbers, weights)
    starts = [sum(sizes[:rank]) for rank in range(len(sizes))]
    count = max(1, -(-max(sizes) * itemsize // PIECE_BYTES))
    return tuple(
        tuple(
            slice(start + size * number // count, start + size * (number + 1) // count)
            for start, size in zip(starts, sizes, strict=True)
        )
        for number in range(count)
    )


class InParts:
    """The exchange that adds up each bucket in parts, in proportion to ``weights`` if given."""

    is_exact: ClassVar[bool] = True
    wire: ClassVar[type[Wire]] = AsTheyAre

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        self._parts = Parts(self.wire(), weights)

    def begin(self, samples: int) -> None:
        """Do nothing: sums don't depend on the number of samples."""

    def __call__(self, comm: MPI.Comm, bucket: Bucket) -> None:
        """Replace ``bucket.flat`` by its sum over all ranks. Collective."""
        self._parts.add_up(comm, bucket.flat)


class InHalfParts(InParts):
    """The same in 16 bits: half the bytes, and each number rounded twice."""

    is_exact: ClassVar[bool] = False
    wire: ClassVar[type[Wire]] = Half

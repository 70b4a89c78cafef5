"""What each wire carries, pair by pair: one way, the other way, and both at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from beowulf.measure.quiet import Buffer

PINGS = 21
WARM_UP = 3
REPEATS = 3
SMALLEST_BYTES = 64 << 10
LARGEST_BYTES = 64 << 20
# With few nodes, one pair after the other: no other traffic, wherever that would meet.
ONE_BY_ONE = 8
WHOLE_S = 90.0  # for all pairs, about
TRANSFERS_PER_PAIR = 14  # as long as the longest of them, looking for the size counted in
LONGEST_TRANSFER_S = 0.2
SHORTEST_TRANSFER_S = 0.02
# Above 64 KB, Open MPI asks the receiver first, and the answer waits behind what that one sends:
# both directions at once would look like one at a time, now and then.
PIECE_BYTES = 32 << 10
PIECES_AT_ONCE = 32
TAG = 7


@dataclass(frozen=True)
class PairSpeed:
    """One rank's wire to another: what it sends, by itself and while it receives."""

    target: int
    bytes_per_s: float
    both_bytes_per_s: float
    latency_s: float


def rounds_of(ranks: int, *, at_once: bool) -> Iterator[list[tuple[int, int]]]:
    """Yield all pairs of ranks, each once: those of one list have no rank in common.

    Unless ``at_once``, a list has one pair. The order is that of a round-robin tournament,
    by the circle method.
    """
    players = [*range(ranks), *([-1] if ranks % 2 else [])]  # who meets -1 has a break
    for _ in range(len(players) - 1):
        met = zip(players[: len(players) // 2], reversed(players), strict=False)
        pairs = [(min(pair), max(pair)) for pair in met if -1 not in pair]
        yield from [pairs] if at_once else [[pair] for pair in pairs]
        players.insert(1, players.pop())


def transfer_s(rounds: int) -> float:
    """Return how long one transfer may take, so that all rounds end in about a minute and a half.

    >>> transfer_s(6), transfer_s(10_000)
    (0.2, 0.02)
    """
    fair = WHOLE_S / max(1, rounds * TRANSFERS_PER_PAIR)
    return min(LONGEST_TRANSFER_S, max(SHORTEST_TRANSFER_S, fair))


def measure_wires(
    comm: MPI.Comm, wait: Callable[[], None], tell: Callable[[int, int], None]
) -> list[PairSpeed]:
    """Return what this rank found of its wires to all others. Collective.

    ``wait`` is a barrier that leaves the processor to the pair that is measured; ``tell`` is
    called with how many rounds are done of how many. A missing rank leaves the others waiting.
    """
    rounds = list(rounds_of(comm.size, at_once=comm.size > ONE_BY_ONE))
    long_s = transfer_s(len(rounds))
    # Pages that nothing is written to take no memory, of which an old PC has little.
    buffer = np.empty(LARGEST_BYTES, np.uint8), np.empty(LARGEST_BYTES, np.uint8)
    found = []
    for number, pairs in enumerate(rounds):
        for first, second in pairs:
            if comm.rank in (first, second):
                other = second if comm.rank == first else first
                found.append(_pair(comm, other, long_s, buffer))
        wait()
        tell(number + 1, len(rounds))
    return found


def _pair(comm: MPI.Comm, other: int, long_s: float, buffer: tuple[Buffer, Buffer]) -> PairSpeed:
    """Measure the wire between this rank and another, which does the same."""
    latency_s = _latency_s(comm, other)
    outgoing, incoming = buffer
    if comm.rank < other:
        sent = _send(comm, other, long_s, outgoing)
        received = _receive(comm, other, incoming)
    else:
        received = _receive(comm, other, incoming)
        sent = _send(comm, other, long_s, outgoing)
    size = min(sent[0], received)  # the same on both sides
    both_s = min(_exchange_s(comm, other, size, buffer) for _ in range(REPEATS))
    return PairSpeed(other, sent[1], size / both_s, latency_s)


def _latency_s(comm: MPI.Comm, other: int) -> float:
    """Return half the time of a byte there and back, the median of many."""
    byte = np.zeros(1, np.uint8)
    taken = []
    for _ in range(WARM_UP + PINGS):
        began = time.perf_counter()
        if comm.rank < other:
            comm.Send(byte, other, TAG)
            comm.Recv(byte, other, TAG)
        else:
            comm.Recv(byte, other, TAG)
            comm.Send(byte, other, TAG)
        taken.append(time.perf_counter() - began)
    return median(taken[WARM_UP:]) / 2


def _send(comm: MPI.Comm, other: int, long_s: float, buffer: Buffer) -> tuple[int, float]:
    """Send more and more until it takes ``long_s``; return the size and the best bytes/s.

    The best of some: what else happens makes a wire look slower, never faster.
    """
    size = SMALLEST_BYTES
    while (taken_s := _send_once(comm, other, size, buffer)) < long_s and size < LARGEST_BYTES:
        growth = min(8.0, max(2.0, long_s / taken_s))
        size = min(LARGEST_BYTES, int(size * growth))
    best_s = min(taken_s, *(_send_once(comm, other, size, buffer) for _ in range(REPEATS - 1)))
    comm.Send(np.array([-size], np.int64), other, TAG)
    return size, size / best_s


def _send_once(comm: MPI.Comm, other: int, size: int, buffer: Buffer) -> float:
    answer = np.zeros(1, np.uint8)
    comm.Send(np.array([size], np.int64), other, TAG)
    comm.Recv(answer, other, TAG)
    began = time.perf_counter()
    comm.Send(buffer[:size], other, TAG)
    comm.Recv(answer, other, TAG)
    return time.perf_counter() - began


def _receive(comm: MPI.Comm, other: int, buffer: Buffer) -> int:
    """Be the other side of ``_send``; return the size that it came to."""
    size = np.zeros(1, np.int64)
    answer = np.zeros(1, np.uint8)
    while True:
        comm.Recv(size, other, TAG)
        if size[0] < 0:
            return int(-size[0])
        comm.Send(answer, other, TAG)
        comm.Recv(buffer[: size[0]], other, TAG)
        comm.Send(answer, other, TAG)


def _exchange_s(comm: MPI.Comm, other: int, size: int, buffer: tuple[Buffer, Buffer]) -> float:
    """Return how long it takes to send and to receive ``size`` bytes at the same time."""
    outgoing, incoming = buffer
    byte = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    comm.Sendrecv(byte[0], other, TAG, byte[1], other, TAG)
    began = time.perf_counter()
    step = PIECE_BYTES * PIECES_AT_ONCE
    for start in range(0, size, step):
        places = range(start, min(size, start + step), PIECE_BYTES)
        pieces = [slice(place, min(size, place + PIECE_BYTES)) for place in places]
        coming = [comm.Irecv(incoming[piece], other, TAG) for piece in pieces]
        going = [comm.Isend(outgoing[piece], other, TAG) for piece in pieces]
        MPI.Request.Waitall([*coming, *going])
    comm.Sendrecv(byte[0], other, TAG, byte[1], other, TAG)  # until the other has all of it too
    return time.perf_counter() - began

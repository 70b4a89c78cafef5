"""How fast each rank's wire is: as a script says, or as a short trial finds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

TRIAL_BYTES = 250_000  # 20 ms at 100 Mbit
TRIALS = 3  # whatever else happens makes a wire look slower, never faster
WARM_UP_BYTES = 100_000  # connections are made when they are first used
MOST_TRIALS = 6
TRIAL_PIECE_BYTES = 32 * 1024  # below the 64 KiB from which Open MPI asks the receiver first


def parse_links(links: str | Sequence[float], ranks: int) -> tuple[float, ...]:
    """Read speeds written as numbers or as ``100:1000:1000``, one per rank, in any unit.

    Raises:
        TrainingError: They are not as many numbers above 0 as there are ranks.
    """
    words = links.split(":") if isinstance(links, str) else links
    try:
        speeds = tuple(float(word) for word in words)
    except ValueError:
        speeds = ()
    if len(speeds) != ranks or any(not (speed > 0 and math.isfinite(speed)) for speed in speeds):
        raise TrainingError(
            f"averaging: links {links!r} must be {ranks} numbers above 0, one per rank, "
            "such as 100:1000:1000; leave them out to have them measured"
        )
    return speeds


def measured_links(comm: MPI.Comm) -> tuple[float, ...]:
    """Measure how fast each rank sends and receives at once, in bytes per second.

    Ones if there are but two ranks: nothing depends on it then. The same numbers on every
    rank. Takes half a second where the slowest wire has 100 Mbit/s. Collective: a missing rank
    leaves the others waiting.
    """
    return measured_rates(comm) if comm.size > 2 else (1.0,) * comm.size


def measured_rates(comm: MPI.Comm) -> tuple[float, ...]:
    """Measure how fast each rank sends and receives at once, in bytes per second, in pairs.

    A transfer is as fast as the slower of its two ends, so each rank meets several others,
    and its best counts. (All sending on around a circle would not do: with three ranks, each
    of them has the slow one on one of its sides, whichever way they go.) The same numbers
    on every rank. Collective: a missing rank leaves the others waiting.
    """
    best = 0.0
    for other in partners_of(comm.rank, comm.size)[:MOST_TRIALS]:
        comm.Barrier()
        if other is not None:
            _exchange_s(comm, other, WARM_UP_BYTES)
            taken_s = min(_exchange_s(comm, other, TRIAL_BYTES) for _ in range(TRIALS))
            best = max(best, TRIAL_BYTES / taken_s)
    return tuple(comm.allgather(best))


def partners_of(rank: int, ranks: int) -> list[int | None]:
    """Return whom a rank meets in each round of a tournament; None for a break.

    Everybody meets everybody once (the circle method); in no round does anybody meet two.
    """
    players = ranks + ranks % 2
    if ranks == 1:
        return []
    found: list[int | None] = []
    for turn in range(players - 1):
        if rank == players - 1:  # the one who stays where it is
            other = turn * (players // 2) % (players - 1)
        else:
            other = (turn - rank) % (players - 1)
            if other == rank:
                other = players - 1
        found.append(other if other < ranks else None)
    return found


def _exchange_s(comm: MPI.Comm, other: int, size: int) -> float:
    """Return how long it takes to send and to receive ``size`` bytes at the same time.

    In pieces that need no answer: the answer to a large one waits behind the other's data.
    """
    outgoing, incoming = np.zeros(size, np.uint8), np.empty(size, np.uint8)
    places = range(0, size, TRIAL_PIECE_BYTES)
    byte = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    comm.Sendrecv(byte[0], other, 0, byte[1], other)
    started = MPI.Wtime()
    coming = [comm.Irecv(incoming[p : p + TRIAL_PIECE_BYTES], other) for p in places]
    going = [comm.Isend(outgoing[p : p + TRIAL_PIECE_BYTES], other) for p in places]
    MPI.Request.Waitall([*coming, *going])
    comm.Sendrecv(byte[0], other, 0, byte[1], other)  # until the other has all of it too
    return float(max(MPI.Wtime() - started, 1e-6))

"""How fast each rank's wire is, and what part of an exchange each rank should own then."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

TRIAL_BYTES = 500_000  # 40 ms at 100 Mbit
WARM_UP_BYTES = 100_000  # connections are made when they are first used
MOST_TRIALS = 6


def part_weights(links: Sequence[float]) -> tuple[float, ...]:
    """Return the parts, adding up to 1, with which an exchange in parts takes least time.

    ``links`` are the ranks' speeds, in any unit. Rank i moves 1 + (n - 2) w_i times the size
    of it all, so the time is T = max (1 + (n - 2) w_i) / link_i. It cannot be less than what
    the slowest rank takes if it owns nothing, nor than if all wires were busy all the time;
    with the larger of the two, each rank can own up to (T link_i - 1) / (n - 2).
    """
    ranks = len(links)
    if ranks <= 2:  # both move the same, whoever adds up
        return (1 / ranks,) * ranks
    time = max(1 / min(links), (2 * ranks - 2) / sum(links))
    room = [max(0.0, time * link - 1) for link in links]
    return tuple(part / sum(room) for part in room)


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

    A transfer is as fast as the slower of its two ends, so each rank tries several others,
    and its best counts. Ones if there are but two ranks: nothing depends on it then. The same
    numbers on every rank. Takes half a second where the slowest wire has 100 Mbit/s.
    Collective: a missing rank leaves the others waiting.
    """
    if comm.size <= 2:
        return (1.0,) * comm.size
    best = 0.0
    for step in range(1, min(comm.size, MOST_TRIALS + 1)):
        for size in (WARM_UP_BYTES, TRIAL_BYTES):
            message, received = np.zeros(size, np.uint8), np.empty(size, np.uint8)
            comm.Barrier()
            started = MPI.Wtime()
            comm.Sendrecv(
                message, (comm.rank + step) % comm.size, 0, received, (comm.rank - step) % comm.size
            )
            took_s = max(MPI.Wtime() - started, 1e-6)
        best = max(best, size / took_s)
    return tuple(comm.allgather(best))

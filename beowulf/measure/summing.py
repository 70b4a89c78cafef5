"""How long it takes to sum over all nodes, by size."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from beowulf.job.measured import AllreduceTime

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES_BYTES = (1 << 10, 16 << 10, 128 << 10, 1 << 20, 8 << 20)
REPEATS = 5
LONGEST_S = 3.0  # a size that would take longer is left out, and those above it


def measure_allreduce(
    comm: MPI.Intracomm, wait: Callable[[], None], sizes: tuple[int, ...] = SIZES_BYTES
) -> list[AllreduceTime]:
    """Return how long the sum of float32 numbers takes, the same on all ranks. Collective.

    A time is that of the slowest rank, the median of five. A missing rank leaves the others
    waiting.
    """
    found: list[AllreduceTime] = []
    for size in sizes:
        if found and found[-1].seconds * size / found[-1].size_bytes > LONGEST_S:
            break
        numbers = np.ones(size // 4, np.float32)
        taken = [_slowest_s(comm, numbers, wait) for _ in range(1 + REPEATS)]
        found.append(AllreduceTime(size, median(taken[1:])))  # the first one opens connections
    return found


def _slowest_s(comm: MPI.Intracomm, numbers: np.ndarray, wait: Callable[[], None]) -> float:
    total = np.empty_like(numbers)
    wait()
    comm.Barrier()  # closer together than a quiet wait can be
    began = time.perf_counter()
    comm.Allreduce(numbers, total)
    slowest_s: float = comm.allreduce(time.perf_counter() - began, MPI.MAX)
    return slowest_s

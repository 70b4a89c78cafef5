"""Which ranks share a machine, and what the wires between machines carry."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from beowulf.limits.quantities import Wire
from beowulf.train.links import measured_rates

if TYPE_CHECKING:
    from collections.abc import Sequence

TINY_SUMS = 7


def machines_of(comm: MPI.Intracomm) -> tuple[int, ...]:
    """Return a number for each rank, the same for ranks of one machine: its first rank.

    Collective: a missing rank leaves the others waiting.
    """
    together = comm.Split_type(MPI.COMM_TYPE_SHARED, key=comm.rank)
    first = together.bcast(comm.rank)
    together.Free()
    return tuple(comm.allgather(first))


def measured_wire(comm: MPI.Intracomm, machines: Sequence[int]) -> Wire:
    """Measure what each rank's machine sends and receives at once, and how long nothing takes.

    One rank per machine does, while the others wait. The same numbers on every rank. Collective:
    a missing rank leaves the others waiting.
    """
    is_first = machines[comm.rank] == comm.rank
    firsts = comm.Split(0 if is_first else MPI.UNDEFINED, key=comm.rank)
    found = None
    if is_first:
        rates = measured_rates(firsts)
        found = dict(zip(sorted(set(machines)), rates, strict=True)), _latency_s(firsts)
        firsts.Free()
    rate_of, latency_s = comm.bcast(found)
    return Wire(tuple(rate_of[machine] for machine in machines), latency_s)


def _latency_s(comm: MPI.Comm) -> float:
    """Return how long a message of nothing takes: a small sum is 2 (n-1) of them, in a ring."""
    number, taken = np.zeros(1), []
    for _ in range(TINY_SUMS):
        began = MPI.Wtime()
        comm.Allreduce(MPI.IN_PLACE, number)
        taken.append(MPI.Wtime() - began)
    return max(0.0, statistics.median(taken)) / (2 * (comm.size - 1))

"""``python -m beowulf.measure``, one rank per node: measure, and write down what was found."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from mpi4py import MPI

from beowulf.durable import write_json
from beowulf.job.directory import JobDirectory
from beowulf.job.events import utc_now
from beowulf.job.measured import Measured, NodeSpeed, WireSpeed, newest_of
from beowulf.measure.quiet import wait_for_all
from beowulf.measure.speed import matrix_flops, memory_bytes_per_s, ports, threads_given
from beowulf.measure.summing import measure_allreduce
from beowulf.measure.wires import measure_wires

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPUTING_S = 2.0
COPYING_S = 1.0
TOLD_EVERY = 6  # rounds


def main() -> None:
    """Measure all nodes, and have rank 0 write it into the job's directory and beside all jobs'."""
    directory = JobDirectory.of_this_rank()
    if directory is None:
        sys.exit("beowulf: BEOWULF_JOB_DIR is not set; this is started by: beowulf bench")
    comm = MPI.COMM_WORLD
    found = measure(comm, COMPUTING_S, COPYING_S)
    if comm.rank == 0:
        document = found.to_json()
        write_json(directory.measured, document)
        write_json(newest_of(directory.path.parent), document)


def measure(comm: MPI.Intracomm, computing_s: float, copying_s: float) -> Measured:
    """Return what the nodes and wires of a communicator do. Collective.

    A missing rank leaves the others waiting.
    """
    wait = partial(wait_for_all, comm)
    names = names_of(comm.allgather(MPI.Get_processor_name()))
    _say(comm, f"measuring how fast {_count(comm.size, 'node')} compute{'s' * (comm.size == 1)}")
    wait()
    threads = threads_given()
    node = NodeSpeed(
        names[comm.rank],
        threads,
        matrix_flops(computing_s),
        memory_bytes_per_s(threads, copying_s),
        ports(),
    )
    nodes = comm.allgather(node)
    wait()
    if comm.size == 1:
        return Measured(utc_now(), tuple(nodes))
    _say(comm, f"measuring {_count(comm.size * (comm.size - 1) // 2, 'wire')}, in both directions")
    mine = [
        WireSpeed(
            names[comm.rank],
            names[pair.target],
            pair.bytes_per_s,
            pair.both_bytes_per_s,
            pair.latency_s,
        )
        for pair in measure_wires(comm, wait, partial(_tell, comm))
    ]
    wires = [wire for wires in comm.allgather(mine) for wire in wires]
    _say(comm, "measuring the sum over all nodes")
    times = measure_allreduce(comm, wait)
    return Measured(utc_now(), tuple(nodes), tuple(wires), tuple(times))


def names_of(hosts: Sequence[str]) -> list[str]:
    """Return one name per rank: its host's, with the rank's number where a host has several.

    >>> names_of(["head", "node1", "head"])
    ['head/0', 'node1', 'head/2']
    """
    ranks_on = Counter(hosts)
    return [host if ranks_on[host] == 1 else f"{host}/{rank}" for rank, host in enumerate(hosts)]


def _tell(comm: MPI.Intracomm, done: int, rounds: int) -> None:
    if done == rounds or done % TOLD_EVERY == 0:
        _say(comm, f"  {done * 100 // rounds} % of the wires")


def _say(comm: MPI.Intracomm, text: str) -> None:
    if comm.rank == 0:
        print(text, flush=True)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


if __name__ == "__main__":
    main()

"""Average the same arrays with every strategy, in turn, within one world of ranks."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from bench.harness import alternate
from beowulf.train.strategy import averaging_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.train.averaging import Averaging

EXACT = ("naive", "dense")  # what changes nothing, so that it can be compared by its time alone


def timed(
    comm: MPI.Intracomm, averaging: Averaging, count: int, size: int, block: int
) -> Callable[[], float]:
    """Return a function that averages ``block`` times and returns seconds per time. Collective.

    Every strategy gets arrays of its own, ``count`` of ``size`` numbers each.
    """
    arrays = [np.full(size, comm.rank + 1.0) for _ in range(count)]
    mean = (comm.size + 1) / 2

    def run() -> float:
        comm.Barrier()
        started = time.perf_counter()
        for _ in range(block):
            averaging.begin(comm.size, 1)
            averaging.average(arrays, 0.0, 0.0)
        elapsed_s = time.perf_counter() - started
        if any(array[0] != mean or array[-1] != mean for array in arrays):
            raise SystemExit(f"{averaging}: the mean is wrong; nothing was compared")
        return elapsed_s / block

    return run


def main() -> None:
    """Measure, and let rank 0 write the seconds of each round, by strategy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path)
    for name in ("--count", "--size", "--block", "--turns", "--rounds"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    comm = MPI.COMM_WORLD
    ways = {
        name: timed(comm, averaging_named(name, comm), options.count, options.size, options.block)
        for name in EXACT
    }
    found = alternate(ways, options.rounds, turns=options.turns)
    if comm.rank == 0:
        options.found.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

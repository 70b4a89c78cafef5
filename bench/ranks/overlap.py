"""A backward pass, an exchange, one after the other and both at once, in turn, in one world.

The pass has layers whose gradients fill a bucket each. It computes (matrix products), or it
waits as long (as a computation does that has cores of its own, or a GPU).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from bench.harness import alternate
from beowulf.train.buckets import BUCKET_BYTES
from beowulf.train.dense import Dense
from beowulf.train.exchange import Plain

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS = 8
SIZE = 256  # of the matrices


class Training:
    """The same gradients, sent after the pass or during it."""

    def __init__(self, *, overlap: bool) -> None:
        self._dense = Dense(MPI.COMM_WORLD, Plain(), overlap=overlap)
        zeros = np.zeros(BUCKET_BYTES // 4, np.float32)
        self._gradients = self._dense.gradients([zeros] * LAYERS)

    def step(self, layer: Callable[[], None] | None) -> None:
        """Compute each layer, if there is anything to compute, and average. Collective."""
        self._dense.begin(MPI.COMM_WORLD.size, 1)
        self._dense.step.is_last_part = True
        for gradient in reversed(self._gradients):
            if layer is not None:
                layer()
            gradient[...] = 1.0
            self._dense.ready(gradient)
        self._dense.average(self._gradients, 0.0, 0.0)
        if any(gradient[-1] != 1.0 for gradient in self._gradients):
            raise SystemExit("the mean is wrong; nothing was compared")


def timed(work: Callable[[], None]) -> Callable[[], float]:
    """Return a function that does ``work`` on all ranks together and returns its seconds."""

    def run() -> float:
        MPI.COMM_WORLD.Barrier()
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


def measure(layer_s: float, rounds: int, *, waits: bool) -> dict[str, list[float]]:
    """Return each round's seconds of every way. Collective."""
    matrix = np.ones((SIZE, SIZE), np.float32)

    def layer() -> None:
        if waits:
            time.sleep(layer_s)
        ends = time.thread_time() + (0.0 if waits else layer_s)
        while time.thread_time() < ends:
            matrix @ matrix

    def compute() -> None:
        for _ in range(LAYERS):
            layer()

    after, during = Training(overlap=False), Training(overlap=True)
    ways = {
        "compute": timed(compute),
        "exchange": timed(lambda: after.step(None)),
        "after": timed(lambda: after.step(layer)),
        "during": timed(lambda: during.step(layer)),
    }
    return alternate(ways, rounds, warm_up=2)


def main() -> None:
    """Measure, and let rank 0 write what it found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path)
    parser.add_argument("--layer-ms", type=float, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--waits", type=int, required=True, help="1 to wait, 0 to compute")
    options = parser.parse_args()
    found = measure(options.layer_ms / 1e3, options.rounds, waits=bool(options.waits))
    if MPI.COMM_WORLD.rank == 0:
        options.found.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

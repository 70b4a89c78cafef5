"""Train with the library as ``jobs/digits`` does; tell how long a step takes in the median."""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from statistics import median

from mpi4py import MPI

from bench.ranks.loops import with_library
from bench.ranks.network import Network, Pictures
from beowulf import train
from beowulf.rank.script import end_orderly

COLD_STEPS = 20


def main() -> None:
    """Train so many steps, and let rank 0 write what it found."""
    found = Path(sys.argv[1])
    width, global_batch, steps = map(int, sys.argv[2:])
    network = Network(width)
    with train.Run(
        global_batch=global_batch, averaging="dense", overlap=False, checkpoint_every_s=None
    ) as run:
        run.track(weights=network.weights, velocity=network.velocity)
        loop = with_library(run, network, Pictures.random(), steps, block=1)
        ended_s = [time.perf_counter() for _ in loop]
    took_s = [later - earlier for earlier, later in itertools.pairwise(ended_s)]
    if MPI.COMM_WORLD.rank == 0:
        found.write_text(json.dumps(median(took_s[COLD_STEPS:])))
    end_orderly()


if __name__ == "__main__":
    main()

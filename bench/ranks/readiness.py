"""Train with the library as ``jobs/digits`` does; tell how long a step takes in the median."""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from statistics import median

from mpi4py import MPI

from bench.ranks.network import SAMPLES, Network, Pictures
from beowulf import train
from beowulf.rank.script import end_orderly

COLD_STEPS = 20


def main() -> None:
    """Train so many steps, and let rank 0 write what it found."""
    found = Path(sys.argv[1])
    width, global_batch, steps = map(int, sys.argv[2:])
    pictures, network = Pictures.random(), Network(width)
    ended_s = []
    with train.Run(
        global_batch=global_batch, averaging="dense", overlap=False, checkpoint_every_s=None
    ) as run:
        run.track(weights=network.weights, velocity=network.velocity)
        gradients = run.gradients(network.weights)
        for batch in run.batches(SAMPLES, steps=steps):
            for gradient in gradients.values():
                gradient[...] = 0.0
            loss = 0.0
            for part in batch:
                loss += network.add_gradients(
                    gradients, pictures.images[part], pictures.labels[part]
                )
            run.average(gradients, loss)
            network.update(gradients)
            ended_s.append(time.perf_counter())
    took_s = [later - earlier for earlier, later in itertools.pairwise(ended_s)]
    if MPI.COMM_WORLD.rank == 0:
        found.write_text(json.dumps(median(took_s[COLD_STEPS:])))
    end_orderly()


if __name__ == "__main__":
    main()

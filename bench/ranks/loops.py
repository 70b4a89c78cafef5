"""The same training by hand and with the library, in turn, within one world of ranks.

Both loops are generators that stop after every block of steps, so that one process
runs them alternately and the machine's slow moments fall on both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from bench.harness import alternate
from bench.ranks.network import SAMPLES, Network, Pictures
from beowulf import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 0


def by_hand(
    comm: MPI.Intracomm, network: Network, pictures: Pictures, global_batch: int, block: int
) -> Iterator[float]:
    """Train with bare mpi4py, for ever; yield the last loss after each block.

    As good as it gets: the gradients are views into one flat buffer whose last number
    is the loss, so that one all-reduce without any copying averages everything.
    """
    sizes = [weight.size for weight in network.weights.values()]
    flat = np.zeros(sum(sizes) + 1)
    pieces = np.split(flat[:-1], np.cumsum(sizes)[:-1])
    gradients = {
        name: piece.reshape(weight.shape)
        for (name, weight), piece in zip(network.weights.items(), pieces, strict=True)
    }
    step = 0
    for epoch in itertools.count():
        permutation = np.random.default_rng([SEED, epoch]).permutation(SAMPLES)
        for first in range(0, SAMPLES, global_batch):
            size = min(global_batch, SAMPLES - first)
            start = first + size * comm.rank // comm.size
            end = first + size * (comm.rank + 1) // comm.size
            mine = permutation[start:end]
            flat[...] = 0.0
            flat[-1] = network.add_gradients(
                gradients, pictures.images[mine], pictures.labels[mine]
            )
            comm.Allreduce(MPI.IN_PLACE, flat)
            flat /= size
            network.update(gradients)
            step += 1
            if step % block == 0:
                yield float(flat[-1])


def with_library(
    run: train.Run, network: Network, pictures: Pictures, steps: int, block: int
) -> Iterator[float]:
    """Train with the library as ``jobs/digits`` does; yield the last loss after each block."""
    gradients = run.gradients(network.weights)
    for batch in run.batches(SAMPLES, steps=steps):
        for gradient in gradients.values():
            gradient[...] = 0.0
        loss = 0.0
        for part in batch:
            loss += network.add_gradients(gradients, pictures.images[part], pictures.labels[part])
        mean = run.average(gradients, loss)
        network.update(gradients)
        if batch.step % block == 0:
            yield mean


def timed(comm: MPI.Intracomm, loop: Iterator[float], block: int) -> Callable[[], float]:
    """Return a function that runs one block, all ranks together, and returns seconds per step."""

    def run() -> float:
        comm.Barrier()
        started = time.perf_counter()
        next(loop)
        return (time.perf_counter() - started) / block

    return run


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """Return seconds per step of each round, for both loops. Collective."""
    steps = (options.rounds + 1) * options.turns * options.block
    pictures = Pictures.random()
    mine, library = Network(options.width), Network(options.width)
    with train.Run(global_batch=options.global_batch, seed=SEED, averaging="dense") as run:
        run.track(weights=library.weights, velocity=library.velocity)
        hand = MPI.COMM_WORLD.Dup()
        ways = {
            "by_hand": by_hand(hand, mine, pictures, options.global_batch, options.block),
            "library": with_library(run, library, pictures, steps, options.block),
        }
        loops = {name: timed(hand, loop, options.block) for name, loop in ways.items()}
        found = alternate(loops, options.rounds, turns=options.turns)
    for name, weight in mine.weights.items():
        if not np.allclose(weight, library.weights[name]):
            raise SystemExit(f"{name}: the two loops did not learn the same; nothing was compared")
    return found


def main() -> None:
    """Measure, and let rank 0 write what it found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path)
    for name in ("--width", "--global-batch", "--block", "--turns", "--rounds"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    found = measure(options)
    if MPI.COMM_WORLD.rank == 0:
        options.found.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

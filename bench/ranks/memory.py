"""Train a wide PyTorch model for some steps, and see how much memory that took at most."""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path

import torch
from mpi4py import MPI

from beowulf import train

WAYS = ("bare", "dense", "fp16", "powersgd")
SAMPLES_PER_RANK = 8
LEARNING_RATE = 1e-9
BYTES_PER_KB = 1024


def train_some(way: str, model: torch.nn.Module, width: int, steps: int) -> None:
    """Take some steps; ``bare`` by PyTorch alone, each rank for itself. Collective if not."""
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    batch = SAMPLES_PER_RANK * MPI.COMM_WORLD.size
    data = torch.randn(batch, width)
    if way == "bare":
        for _ in range(steps):
            optimizer.zero_grad()
            model(data[:SAMPLES_PER_RANK]).square().sum().backward()
            optimizer.step()
        return
    with train.Run(
        global_batch=batch, averaging=way, shares="equal", checkpoint_every_s=None
    ) as run:
        for part in run.batches(batch, steps=steps):
            optimizer.zero_grad()
            for indices in part:
                model(data[indices]).square().sum().backward()
            run.average(model)
            optimizer.step()


def main() -> None:
    """Train, and let rank 0 write the most bytes that each rank has had, and the gradients'."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path)
    parser.add_argument("--way", choices=WAYS, required=True)
    for name in ("--width", "--layers", "--steps"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    layers = [
        torch.nn.Linear(options.width, options.width, bias=False) for _ in range(options.layers)
    ]
    model = torch.nn.Sequential(*layers)
    train_some(options.way, model, options.width, options.steps)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_KB
    every = MPI.COMM_WORLD.gather(most)
    if every is not None:
        gradients = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        options.found.write_text(json.dumps({"most": every, "gradients": gradients}))


if __name__ == "__main__":
    main()

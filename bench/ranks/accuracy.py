"""Train a wide network on real digits with one strategy, and note how it gets better."""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI
from sklearn.datasets import load_digits

from bench.ranks.digits_ddp import EVERY_STEPS, train_by_ddp
from beowulf import train

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from beowulf.train.options import Options

    Floats = NDArray[np.float32]

PIXELS, CLASSES = 64, 10
TEST_SAMPLES = 600  # of 1797, never trained on
MOMENTUM = 0.9
DDP = "DDP balanced, fp16"
WAYS: dict[str, str | Options] = {
    DDP: "",
    "dense": "dense",
    "fp16": "fp16",
    "powersgd, rank 4": train.PowerSGD(rank=4),
    "powersgd, rank 2": train.PowerSGD(rank=2),
    "diloco, 10 steps": train.DiLoCo(inner_steps=10),
}


@dataclass
class Network:
    """Two hidden layers of ``width``: width^2 weights between them are nearly all there are."""

    width: int
    seed: int
    weights: dict[str, Floats] = field(init=False)
    velocity: dict[str, Floats] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        sizes = {
            "1": (PIXELS, self.width), "2": (self.width, self.width), "3": (self.width, CLASSES)
        }  # fmt: skip
        self.weights = {
            name: rng.normal(0, np.sqrt(2 / size[0]), size).astype(np.float32)
            for name, size in sizes.items()
        }
        self.velocity = {name: np.zeros_like(value) for name, value in self.weights.items()}

    def forward(self, images: Floats) -> tuple[Floats, Floats, Floats]:
        """Return what both hidden layers and the output come to."""
        first = np.maximum(images @ self.weights["1"], 0)
        second = np.maximum(first @ self.weights["2"], 0)
        return first, second, second @ self.weights["3"]

    def compute(
        self, gradients: dict[str, Floats], images: Floats, labels: NDArray[np.int64]
    ) -> float:
        """Set the gradients to their sums over these samples; return the sum of the losses."""
        first, second, scores = self.forward(images)
        wrong = np.exp(scores - scores.max(axis=1, keepdims=True))
        wrong /= wrong.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.log(wrong[rows, labels]).sum()
        wrong[rows, labels] -= 1
        at_second = (wrong @ self.weights["3"].T) * (second > 0)
        at_first = (at_second @ self.weights["2"].T) * (first > 0)
        np.matmul(second.T, wrong, out=gradients["3"])
        np.matmul(first.T, at_second, out=gradients["2"])
        np.matmul(images.T, at_first, out=gradients["1"])
        return float(loss)

    def update(self, gradients: dict[str, Floats], rate: float) -> None:
        """Take a step along the mean gradients."""
        for name, gradient in gradients.items():
            gradient *= rate  # noqa: PLW2901 - in place: it is large, and not needed any more
            self.velocity[name] *= MOMENTUM
            self.velocity[name] -= gradient
            self.weights[name] += self.velocity[name]

    def accuracy(self, images: Floats, labels: NDArray[np.int64]) -> float:
        """Return which part of the images is read rightly."""
        return float((self.forward(images)[2].argmax(axis=1) == labels).mean())


def digits() -> tuple[Floats, NDArray[np.int64]]:
    """Return the digits that come with scikit-learn, in an order of ours."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order] / 16).astype(np.float32), labels[order]


def accuracies(way: str, seed: int, options: argparse.Namespace) -> list[tuple[int, float]]:
    """Train, and return the accuracy after so many steps, now and then. Collective."""
    images, labels = digits()
    test, learned = slice(TEST_SAMPLES), slice(TEST_SAMPLES, None)
    network = Network(options.width, seed)
    if way == DDP:
        data = images[learned], labels[learned]
        return train_by_ddp(network, seed, options, data, (images[test], labels[test]))
    found = []
    with train.Run(
        global_batch=options.batch,
        seed=seed,
        shares=options.shares,
        averaging=WAYS[way],
        checkpoint_every_s=None,
    ) as run:
        run.track(weights=network.weights, velocity=network.velocity)
        gradients = run.gradients(network.weights)
        samples = len(labels[learned])
        done, choice = 0, WAYS[way]
        every = choice.inner_steps if isinstance(choice, train.DiLoCo) else EVERY_STEPS
        for batch in run.batches(samples, epochs=options.epochs):
            if done and done % every == 0:  # between, ranks of diloco have no common model
                found.append((done, network.accuracy(images[test], labels[test])))
            part = np.concatenate([np.empty(0, np.int64), *batch])
            loss = network.compute(gradients, images[learned][part], labels[learned][part])
            run.average(gradients, loss)
            network.update(gradients, options.rate * (1 - (batch.epoch - 1) / options.epochs))
            done = batch.step
        found.append((done, network.accuracy(images[test], labels[test])))
    return found


def take_directory(path: Path) -> None:
    """Have the next run be a job of its own: it would go on with the one before. Collective."""
    if MPI.COMM_WORLD.rank == 0:
        path.mkdir()
    MPI.COMM_WORLD.Barrier()
    os.environ["BEOWULF_JOB_DIR"] = str(path)


def main() -> None:
    """Train with every strategy and seed in turn, and let rank 0 write the accuracies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path)
    for name in ("--width", "--epochs", "--batch", "--seeds"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--shares", required=True)
    options = parser.parse_args()
    base = Path(os.environ["BEOWULF_JOB_DIR"])
    found: dict[str, list[list[tuple[int, float]]]] = {way: [] for way in WAYS}
    for seed in range(options.seeds):
        for way, so_far in found.items():
            started_s = time.monotonic()
            take_directory(base / f"{len(so_far)}-{way}")
            so_far.append(accuracies(way, seed, options))
            if MPI.COMM_WORLD.rank == 0:
                took_s = time.monotonic() - started_s
                print(
                    f"{way}, seed {seed}: {so_far[-1][-1][1]:.2%} after {took_s:.0f} s", flush=True
                )
    if MPI.COMM_WORLD.rank == 0:
        options.found.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

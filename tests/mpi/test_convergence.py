"""Compressed and local strategies learn to read digits as well as dense does."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from mpi4py import MPI
from sklearn.datasets import load_digits

from beowulf import train
from beowulf.train.options import Options
from tests.mpi.launch import on_ranks

SEEDS = (0, 1, 2)
POINTS_LOST = 0.3  # at most, of 100
TEST_SAMPLES = 600  # of 1797: a third, so that a difference means something
EPOCHS, BATCH, HIDDEN = 20, 64, 128
STRATEGIES: dict[str, str | Options] = {
    "dense": "dense",
    "fp16": "fp16",
    "weighted": train.Weighted(links="1:2", fp16=True),
    "powersgd": train.PowerSGD(rank=4),
    "diloco": "diloco",
}


def load() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order] / 16).astype(np.float32), labels[order]


@dataclass
class Network:
    """64 pixels, one hidden layer, 10 classes; gradient descent with momentum."""

    seed: int
    weights: dict[str, np.ndarray] = field(init=False)
    velocity: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.weights = {
            "hidden": rng.normal(0, 0.17, (64, HIDDEN)).astype(np.float32),
            "hidden_bias": np.zeros(HIDDEN, np.float32),
            "output": rng.normal(0, 0.09, (HIDDEN, 10)).astype(np.float32),
        }
        self.velocity = {name: np.zeros_like(value) for name, value in self.weights.items()}

    def forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.maximum(images @ self.weights["hidden"] + self.weights["hidden_bias"], 0)
        return hidden, hidden @ self.weights["output"]

    def gradients(self, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        hidden, scores = self.forward(images)
        wrong = np.exp(scores - scores.max(axis=1, keepdims=True))
        wrong /= wrong.sum(axis=1, keepdims=True)
        wrong[np.arange(len(labels)), labels] -= 1
        at_hidden = (wrong @ self.weights["output"].T) * (hidden > 0)
        return {
            "hidden": images.T @ at_hidden,
            "hidden_bias": at_hidden.sum(axis=0),
            "output": hidden.T @ wrong,
        }

    def update(self, gradients: dict[str, np.ndarray], rate: float) -> None:
        for name, gradient in gradients.items():
            self.velocity[name] *= 0.9
            self.velocity[name] -= rate * gradient
            self.weights[name] += self.velocity[name]

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float((self.forward(images)[1].argmax(axis=1) == labels).mean())


def accuracy_with(averaging: str | Options, seed: int) -> float:
    images, labels = load()
    network = Network(seed)
    with train.Run(
        global_batch=BATCH, seed=seed, shares="2:1", averaging=averaging, checkpoint_every_s=None
    ) as run:
        run.track(weights=network.weights, velocity=network.velocity)
        for batch in run.batches(len(images) - TEST_SAMPLES, epochs=EPOCHS):
            part = np.concatenate([np.empty(0, int), *batch]) + TEST_SAMPLES
            gradients = network.gradients(images[part], labels[part])
            run.average(gradients)
            network.update(gradients, 0.1 * (1 - (batch.epoch - 1) / EPOCHS))
    bits = [value.tobytes() for value in network.weights.values()]
    assert MPI.COMM_WORLD.bcast(bits) == bits
    return network.accuracy(images[:TEST_SAMPLES], labels[:TEST_SAMPLES])


def check_accuracies() -> None:
    points = {
        name: 100 * np.mean([accuracy_with(averaging, seed) for seed in SEEDS])
        for name, averaging in STRATEGIES.items()
    }
    assert points["dense"] > 96, points
    assert min(points.values()) >= points["dense"] - POINTS_LOST, points


@pytest.mark.timeout(300)
def test_every_strategy_is_as_accurate_as_dense_over_three_seeds() -> None:
    on_ranks(2, check_accuracies)

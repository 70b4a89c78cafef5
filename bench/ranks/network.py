"""The network of ``jobs/digits`` on random pictures: the same arithmetic for every loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PIXELS = 64
CLASSES = 10
SAMPLES = 1437  # as many as jobs/digits trains on: not a multiple of any batch
LEARNING_RATE = 0.01
MOMENTUM = 0.9


@dataclass(frozen=True)
class Pictures:
    """Images, shape (SAMPLES, PIXELS), and labels, shape (SAMPLES,)."""

    images: Floats
    labels: NDArray[np.int64]

    @classmethod
    def random(cls) -> Pictures:
        """Draw the same pictures on every rank."""
        rng = np.random.default_rng(0)
        return cls(rng.random((SAMPLES, PIXELS)), rng.integers(0, CLASSES, SAMPLES))


@dataclass(frozen=True)
class Network:
    """One hidden layer of ``width``, trained by gradient descent with momentum."""

    width: int
    weights: dict[str, Floats] = field(init=False)
    velocity: dict[str, Floats] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        weights = {
            "hidden": rng.normal(0.0, np.sqrt(2 / PIXELS), (PIXELS, self.width)),
            "hidden_bias": np.zeros(self.width),
            "output": rng.normal(0.0, np.sqrt(1 / self.width), (self.width, CLASSES)),
            "output_bias": np.zeros(CLASSES),
        }
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "velocity", {k: np.zeros_like(v) for k, v in weights.items()})

    def add_gradients(
        self, gradients: dict[str, Floats], images: Floats, labels: NDArray[np.int64]
    ) -> float:
        """Add the samples' gradients to what is there and return the sum of their losses."""
        weights = self.weights
        hidden = np.maximum(images @ weights["hidden"] + weights["hidden_bias"], 0.0)
        scores = hidden @ weights["output"] + weights["output_bias"]
        exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = exponents / exponents.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.log(probabilities[rows, labels]).sum()
        probabilities[rows, labels] -= 1.0
        at_hidden = (probabilities @ weights["output"].T) * (hidden > 0)
        gradients["output"] += hidden.T @ probabilities
        gradients["output_bias"] += probabilities.sum(axis=0)
        gradients["hidden"] += images.T @ at_hidden
        gradients["hidden_bias"] += at_hidden.sum(axis=0)
        return float(loss)

    def update(self, gradients: dict[str, Floats]) -> None:
        """Take one step along the mean gradients."""
        for name, gradient in gradients.items():
            self.velocity[name] *= MOMENTUM
            self.velocity[name] -= LEARNING_RATE * gradient
            self.weights[name] += self.velocity[name]

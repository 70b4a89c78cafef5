"""A model whose gradients are real and whose computing time is slept: for any speed of node.

What a node computes takes as long as it is told to, however busy this computer is; unless it is
to compute in earnest, on a part of a core. Its
gradients are those of ``|W - c|^2 / 2`` for each sample, where ``c`` differs from sample to
sample: numbers that cost one pass over memory, that tell a wrong weighting of
unequal shares, and whose training has a known end. They become ready layer by
layer, the last one first, so that what overlaps in real training overlaps here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

FORWARD_SHARE = 1 / 3  # of a step; the backward pass of most networks costs twice as much
LEARNING_RATE = 0.01
FACTOR = np.full((96, 96), 0.1, np.float32)
PRODUCT = np.empty_like(FACTOR)
PRODUCTS = 2000  # to see how long one takes


@dataclass
class Work:
    """What a node has to do in a step, and how fast it is. Changes from step to step."""

    samples_per_s: float
    share: int = 0
    pull: float = 0.0  # the sum of c over the share
    scale: float = 1.0  # of the loss: 1 for sums
    products_per_sample: float = 0.0  # to compute instead of sleeping
    _owed: float = 0.0

    def take(self, samples: np.ndarray, scale: float = 1.0) -> None:
        """Take the samples with these numbers as this step's share."""
        self.share, self.scale = len(samples), scale
        self.pull = float(np.sin(samples).sum())

    @property
    def compute_s(self) -> float:
        """How long the share takes."""
        return self.share / self.samples_per_s

    def spend(self, started_s: float, part: float) -> None:
        """Take the time of this part of the share, since it was started."""
        if not self.products_per_sample:
            sleep_until(started_s + self.compute_s * part)
            return
        self._owed += self.share * self.products_per_sample * part
        while self._owed >= 1:
            np.matmul(FACTOR, FACTOR, out=PRODUCT)
            self._owed -= 1


def seconds_per_product() -> float:
    """Return how long one of the products takes that stand for computing."""
    times = []
    for _ in range(PRODUCTS):
        started_s = time.perf_counter()
        np.matmul(FACTOR, FACTOR, out=PRODUCT)
        times.append(time.perf_counter() - started_s)
    return median(times)


def sleep_until(moment_s: float) -> None:
    """Sleep until ``time.perf_counter`` says so."""
    left = moment_s - time.perf_counter()
    if left > 0:
        time.sleep(left)


class Layer(torch.autograd.Function):
    """One parameter's part of the model. Its backward pass takes its time, then has a gradient."""

    @staticmethod
    def forward(
        ctx: Any, before: torch.Tensor, weight: torch.Tensor, work: Work, part: float
    ) -> torch.Tensor:
        """Pass on what comes from the layer before."""
        ctx.save_for_backward(weight)
        ctx.work, ctx.part = work, part
        return before.clone()

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> Any:
        """Return the sum of the share's gradients, once the time it takes is over."""
        started_s = time.perf_counter()
        (weight,) = ctx.saved_tensors
        work: Work = ctx.work
        gradient = torch.mul(weight, work.share * work.scale).sub_(work.pull * work.scale)
        work.spend(started_s, (1 - FORWARD_SHARE) * ctx.part)
        return outputs[0], gradient, None, None


class Model(torch.nn.Module):
    """A model with parameters of these shapes; called, it takes its forward pass's time."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], work: Work) -> None:
        super().__init__()
        self.work = work
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.nn.ParameterList(
            torch.randn(shape, generator=generator) for shape in shapes
        )
        matrices = sum(len(shape) > 1 for shape in shapes)
        self.parts = [1 / matrices if len(shape) > 1 else 0.0 for shape in shapes]

    def forward(self) -> torch.Tensor:
        """Return a loss to go backward from; its value means nothing."""
        started_s = time.perf_counter()
        loss = torch.zeros(1, requires_grad=True)
        for weight, part in zip(self.weights, self.parts, strict=True):
            loss = Layer.apply(loss, weight, self.work, part)  # type: ignore[no-untyped-call]  # PyTorch lacks it
        self.work.spend(started_s, FORWARD_SHARE)
        return loss.sum()

    def update(self) -> None:
        """Take one step along the mean gradients."""
        with torch.no_grad():
            for weight in self.weights:
                weight.sub_(weight.grad, alpha=LEARNING_RATE)


def expected_after(steps: int, first: float, batch: int) -> float:
    """Return what a weight that began as ``first`` is after so many exact steps."""
    end = float(np.sin(np.arange(batch)).mean())
    return float(end + (1 - LEARNING_RATE) ** steps * (first - end))

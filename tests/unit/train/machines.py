"""Simulated machines: what their clocks would say of the shares that a balancer gives them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from beowulf.limits.compute import best_shares, compute_s
from beowulf.limits.quantities import Node
from beowulf.train.balance import Balancer
from beowulf.train.shares import split

Nodes = Sequence[Node]


def excess(nodes: Nodes, shares: Sequence[int]) -> float:
    """Return by which part a step computes longer with these shares than with the best."""
    return compute_s(nodes, shares) / compute_s(nodes, best_shares(nodes, sum(shares))) - 1


@dataclass
class Training:
    """A run of ranks whose steps take what ``nodes(step)`` says, give or take some noise."""

    nodes: Callable[[int], Nodes]
    batch: int
    noise: float = 0.0
    seed: int = 0
    hiccups: dict[int, tuple[int, float]] = field(default_factory=dict)  # step: rank, factor
    sizes: Sequence[int] = ()  # of the batches in an epoch, if they are not all alike
    shares: list[tuple[int, ...]] = field(default_factory=list)  # of each step
    balancer: Balancer = field(init=False)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.balancer = Balancer(len(self.nodes(0)), self.batch)
        self._random = random.Random(self.seed)

    @property
    def weights(self) -> tuple[int, ...]:
        return tuple(int(weight) for weight in self.balancer.weights)

    def run(self, steps: int) -> Training:
        for _ in range(steps):
            step = len(self.shares)
            size = self.sizes[step % len(self.sizes)] if self.sizes else self.batch
            shares = tuple(split(size, self.balancer.weights))
            self.balancer.observe(shares, self._times(step, shares))
            self.shares.append(shares)
        return self

    def _times(self, step: int, shares: Sequence[int]) -> list[float]:
        times = []
        for rank, (node, share) in enumerate(zip(self.nodes(step), shares, strict=True)):
            usual = max(0.1, self._random.gauss(1, self.noise)) if self.noise else 1
            slow, factor = self.hiccups.get(step, (-1, 1.0))
            times.append(node.compute_s(share) * usual * (factor if rank == slow else 1))
        return times


def always(*nodes: Node) -> Callable[[int], Nodes]:
    return lambda _: nodes

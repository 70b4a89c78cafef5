"""The best split of a global batch among unequal nodes, and the time that it takes.

With every node that works ready at the same moment, none waits: a node of speed r and
overhead o takes r(T - o) samples, where T makes the shares add up to the batch. A node
whose overhead is T or more is better off without a share, and one that is short of
memory takes what it can.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.limits.quantities import Node


def best_compute_s(nodes: Sequence[Node], batch: float) -> float:
    """Return the least time in which these nodes can do ``batch`` samples, in seconds.

    Shares need not be whole here. Without bounds on memory, and with overheads that pay,
    this is (batch + sum of r o) / (sum of r).

    Raises:
        InvalidInput: There are no nodes, or the batch is more than their memory takes.
    """
    if not nodes:
        raise InvalidInput("nodes", "there are none", "give one or more")
    if not has_memory(nodes, batch):
        raise InvalidInput(
            "batch", f"{batch} samples are more than the nodes' memory takes", "use more nodes"
        )
    # Between two bends the same nodes work, so that what is done grows evenly.
    now_s, done, speeds = 0.0, 0.0, list[float]()
    for bend_s, begins, ends in sorted(bend for node in nodes for bend in _bends_of(node)):
        speed = math.fsum(speeds)
        if done + speed * (bend_s - now_s) >= batch:
            break
        now_s, done = bend_s, done + speed * (bend_s - now_s)
        if begins:
            speeds.append(begins)
        else:
            speeds.remove(ends)
    return now_s + (batch - done) / math.fsum(speeds) if speeds else now_s


def has_memory(nodes: Sequence[Node], batch: float) -> bool:
    """Say whether the nodes' memory takes the batch."""
    bounds = [node.most_samples for node in nodes if node.most_samples is not None]
    return len(bounds) < len(nodes) or sum(bounds) >= batch


def _bends_of(node: Node) -> list[tuple[float, float, float]]:
    """Return when a node begins to take samples and when its memory is full: (time, on, off)."""
    begins = (node.overhead_s, node.samples_per_s, 0.0)
    if node.most_samples is None:
        return [begins]
    if node.most_samples == 0:
        return []
    return [begins, (node.compute_s(node.most_samples), 0.0, node.samples_per_s)]


def best_split(nodes: Sequence[Node], batch: float) -> tuple[float, ...]:
    """Return how many samples each node takes at best, in parts of samples; they add up.

    Raises:
        InvalidInput: There are no nodes, or the batch is more than their memory takes.
    """
    moment_s = best_compute_s(nodes, batch)
    return tuple(_samples_until(node, moment_s) for node in nodes)


def _samples_until(node: Node, moment_s: float) -> float:
    samples = max(0.0, node.samples_per_s * (moment_s - node.overhead_s))
    return samples if node.most_samples is None else min(samples, node.most_samples)


def best_shares(nodes: Sequence[Node], batch: int) -> tuple[int, ...]:
    """Return how many whole samples each node takes at best; they add up to ``batch``.

    No other whole shares are done sooner: each sample goes where it is done first.
    Between equals it is the first that takes it, so that equal nodes get equal shares,
    but for the odd samples.

    Raises:
        InvalidInput: There are no nodes, or the batch is more than their memory takes.
    """
    shares = [math.floor(samples) for samples in best_split(nodes, batch)]
    free = [
        (node.compute_s(share + 1), index)
        for index, (node, share) in enumerate(zip(nodes, shares, strict=True))
        if _has_room(node, share)
    ]
    heapq.heapify(free)
    for _ in range(batch - sum(shares)):
        _, index = heapq.heappop(free)
        shares[index] += 1
        if _has_room(nodes[index], shares[index]):
            heapq.heappush(free, (nodes[index].compute_s(shares[index] + 1), index))
    return tuple(shares)


def _has_room(node: Node, share: int) -> bool:
    return node.most_samples is None or share < node.most_samples


def compute_s(nodes: Sequence[Node], shares: Sequence[float]) -> float:
    """Return how long a step's compute takes with these shares: as long as the last node."""
    return max(node.compute_s(share) for node, share in zip(nodes, shares, strict=True))

"""How long it takes at least until every node has the sum of what all of them hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.limits.quantities import Wire

MOST_BYTES = 1_000_000  # of one piece: slow wires like it better than more
LEAST_BYTES = 250_000
FEWEST_BUCKETS = 8


def ring_s(wire: Wire, size_bytes: float, bucket_bytes: float = math.inf) -> float:
    """Return the time of an all-reduce around a ring, in seconds.

    Every node sends 2(n-1)/n of the data, at the pace of the slowest link, in 2(n-1)
    rounds per bucket. No all-reduce sends less per node (Patarasuk and Yuan, "Bandwidth
    optimal all-reduce algorithms for clusters of workstations", 2009).
    """
    n = wire.nodes
    if n == 1 or not size_bytes:
        return 0.0
    carrying_s = 2 * (n - 1) / n * size_bytes / min(wire.bytes_per_s)
    return carrying_s + 2 * (n - 1) * wire.latency_s * buckets_of(size_bytes, bucket_bytes)


def weighted_exchange_s(
    wire: Wire,
    size_bytes: float,
    bucket_bytes: float = math.inf,
    parts: Sequence[float] | None = None,
) -> float:
    """Return the time of a direct exchange in which each node adds up a part of the data.

    A node that adds up the part ``w`` sends the rest, 1-w, to the others, and its sum,
    w, to each of the n-1 others: 1 + (n-2)w of the data. ``parts`` must add up to 1; the
    best ones if left out. A slow link with a small part does not hold up the others.
    """
    n = wire.nodes
    if n == 1 or not size_bytes:
        return 0.0
    chosen = best_parts(wire) if parts is None else parts
    carrying_s = size_bytes * max(
        (1 + (n - 2) * part) / rate for part, rate in zip(chosen, wire.bytes_per_s, strict=True)
    )
    return carrying_s + 2 * wire.latency_s * buckets_of(size_bytes, bucket_bytes)


def best_parts(wire: Wire) -> tuple[float, ...]:
    """Return which part of the data each node adds up in the fastest weighted exchange.

    The parts add up to 1. A link that is too slow even to send its own data in the
    others' time gets 0. With two nodes the parts make no difference; they are equal.
    """
    n = wire.nodes
    if n <= 2:
        return (1 / n,) * n
    # All that add up something are done at the same moment: (1 + (n-2)w)/b is the same.
    taking = sorted(wire.bytes_per_s, reverse=True)
    while True:
        pace = (len(taking) + n - 2) / math.fsum(taking)
        if pace * taking[-1] >= 1:
            break
        taking.pop()
    parts = [max(0.0, (pace * rate - 1) / (n - 2)) for rate in wire.bytes_per_s]
    total = math.fsum(parts)
    return tuple(part / total for part in parts)


def buckets_of(size_bytes: float, bucket_bytes: float) -> int:
    """Return in how many pieces the data travel, 1 or more."""
    return max(1, math.ceil(size_bytes / bucket_bytes))


def early_bucket_bytes(size_bytes: float) -> int:
    """Return how large the pieces are in which data travel while the rest is being computed.

    The last one travels when there is nothing left to compute, so it should be a small part of
    all; but each costs messages, so that it should not be small itself.
    """
    return math.ceil(min(MOST_BYTES, max(LEAST_BYTES, size_bytes / FEWEST_BUCKETS)))

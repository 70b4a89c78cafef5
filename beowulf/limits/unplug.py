"""Whether training would be faster with a machine less, by what was measured of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GAIN_AT_LEAST = 0.05  # less is within the noise


@dataclass(frozen=True)
class Unplugging:
    """The host to do without, and how much faster steps would be at least: 0.12 is 12 %."""

    host: str
    gain: float


def unplugging(
    hosts: Sequence[str | None],
    shares: Sequence[int],
    compute_s: Sequence[float],
    step_s: float,
    wire_s: float,
) -> Unplugging | None:
    """Return the host without which steps would certainly be faster, and by most; or None.

    What is left of a host's share is spread over the others as their shares are, which is
    no better than the best shares. A ring has 2(n-1)/n of the data to carry, and what of
    that is hidden behind computing is no less when there is more of it; that the link of
    the host may be the slow one is left out. So the steps without it are no slower than
    is said here, as long as the wire is used as well as now.

    Args:
        hosts: Each rank's host, where known.
        shares: Each rank's samples in a step.
        compute_s: How long each rank computes on them.
        step_s: How long a step takes.
        wire_s: How much of a step goes into exchanging gradients.
    """
    best: Unplugging | None = None
    for host in dict.fromkeys(hosts):
        left = [rank for rank, of_rank in enumerate(hosts) if of_rank != host]
        samples = sum(shares[rank] for rank in left)
        if host is None or not samples:
            continue
        growth = sum(shares) / samples
        computing_s = growth * max(compute_s[rank] for rank in left if shares[rank])
        carrying_s = wire_s * _carried(len(left)) / _carried(len(hosts))
        without_s = step_s - max(compute_s) - wire_s + computing_s + carrying_s
        gain = step_s / without_s - 1
        if gain >= GAIN_AT_LEAST and (best is None or gain > best.gain):
            best = Unplugging(host, gain)
    return best


def _carried(ranks: int) -> float:
    return (ranks - 1) / ranks

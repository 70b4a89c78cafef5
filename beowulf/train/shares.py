"""Split a global batch among ranks: contiguous shares that add up, some perhaps empty."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Container, Sequence


EQUAL = "equal"


def split(samples: int, weights: Sequence[float]) -> list[int]:
    """Return how many of ``samples`` each rank takes, in proportion to its weight.

    The shares are whole and add up to ``samples``; each differs from its exact
    proportion by less than one (the largest-remainder method; equal remainders go
    to the lower rank first). A weight of 0 gives an empty share. Pure: every rank
    computes the same shares from the same numbers.

    Raises:
        TrainingError: ``samples`` is negative, or the weights are negative, not
            finite, or all 0.
    """
    check_weights(weights)
    if samples < 0:
        raise TrainingError(f"samples: {samples} is negative")
    ratios = [Fraction(weight) for weight in weights]  # exact, however large or small they are
    total = sum(ratios)
    exact = [samples * ratio / total for ratio in ratios]
    shares = [math.floor(part) for part in exact]
    by_remainder = sorted(range(len(weights)), key=lambda rank: (shares[rank] - exact[rank], rank))
    willing = [rank for rank in by_remainder if weights[rank] > 0]
    for rank in willing[: samples - sum(shares)]:
        shares[rank] += 1
    return shares


def part_of(rank: int, samples: int, weights: Sequence[float]) -> tuple[tuple[int, ...], slice]:
    """Return every rank's share of ``samples``, and where among them that of ``rank`` lies.

    Raises:
        TrainingError: As ``split`` does.
    """
    shares = tuple(split(samples, weights))
    first = sum(shares[:rank])
    return shares, slice(first, first + shares[rank])


def check_weights(weights: Sequence[float]) -> None:
    """Raise TrainingError unless the weights can split a batch."""
    if not weights or any(not math.isfinite(weight) or weight < 0 for weight in weights):
        raise TrainingError(f"shares: {list(weights)} must be numbers of 0 or more, one per rank")
    if not any(weights):
        raise TrainingError("shares: at least one rank must have a share above 0")


def parse_shares(text: str) -> tuple[float, ...]:
    """Read shares written as ``5:2:1:0``, one number per rank.

    Raises:
        TrainingError: It is not a list of numbers that can split a batch.
    """
    try:
        weights = tuple(float(part) for part in text.split(":"))
    except ValueError:
        raise TrainingError(f"shares: {text!r} must be {EQUAL} or look like 5:2:1:0") from None
    check_weights(weights)
    return weights


def without(weights: Sequence[float], lost: Container[int]) -> tuple[float, ...]:
    """Return weights with none for those who are lost; equal ones if no other had any."""
    left = tuple(0.0 if rank in lost else weight for rank, weight in enumerate(weights))
    return left if any(left) else tuple(float(rank not in lost) for rank in range(len(weights)))

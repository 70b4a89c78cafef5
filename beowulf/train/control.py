"""What all ranks must know of each in every step: its loss and how long it computed.

Every rank has a few numbers of its own in a vector that is added up over all ranks, and
zeros in the others' places: adding up such vectors gathers them, exactly. So they can
travel behind the gradients, and cost no message of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PER_RANK = 4  # the loss, in three pieces that float32 holds exactly; the seconds of computing


@dataclass(frozen=True)
class Told:
    """What every rank knows of all ranks after a step: the same numbers on each."""

    loss_sum: float
    compute_s: tuple[float, ...]


def room(world_size: int, extra: int = 0) -> int:
    """Return how many numbers travel, ``extra`` ones that are added up included."""
    return PER_RANK * world_size + extra


def tell(
    vector: NDArray[np.floating], rank: int, world_size: int, loss: float, compute_s: float
) -> NDArray[np.floating]:
    """Fill this rank's part of ``vector``; return the extra numbers behind, as they were."""
    end = PER_RANK * world_size
    vector[:end] = 0.0
    first = PER_RANK * rank
    if vector.dtype == np.float64:
        vector[first] = loss
    else:
        vector[first : first + 3] = _pieces(loss)
    vector[first + 3] = compute_s
    return vector[end:]


def hear(vector: NDArray[np.floating], world_size: int) -> Told:
    """Read what a vector says after it was added up over all ranks.

    The losses are added in the order of ranks: the same sum on each.
    """
    numbers: list[float] = vector[: PER_RANK * world_size].tolist()
    loss_sum = 0.0
    for first in range(0, len(numbers), PER_RANK):
        loss_sum += numbers[first] + numbers[first + 1] + numbers[first + 2]
    return Told(loss_sum, tuple(numbers[3::PER_RANK]))


def _pieces(number: float) -> tuple[float, float, float]:
    """Return three numbers of 24 bits each, as float32 has them, that add up to ``number``."""
    with np.errstate(over="ignore"):
        high = float(np.float32(number))
    if not math.isfinite(high):
        return high, 0.0, 0.0
    middle = float(np.float32(number - high))
    return high, middle, number - high - middle

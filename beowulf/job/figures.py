"""What a finished training tells of itself, so that others like it can be predicted.

It stands in ``result.json`` as ``training``: ``global_batch`` (samples per step),
``gradient_bytes`` (what every rank brings to each step's sum), and ``ranks``, one entry each:
``host``, and ``samples_per_s`` computed there, waiting left out; null for one with no share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

KEY = "training"


@dataclass(frozen=True)
class RankSpeed:
    """How many samples per second a rank computes while it computes; None without a share."""

    host: str
    samples_per_s: float | None


@dataclass(frozen=True)
class TrainingFigures:
    """What a step has to do, and how fast each rank did its share of it."""

    global_batch: int
    gradient_bytes: int
    ranks: tuple[RankSpeed, ...]

    def by_host(self) -> dict[str, float]:
        """Return each host's samples per second, all its ranks together, where it is known."""
        found: dict[str, float] = defaultdict(float)
        for rank in self.ranks:
            if rank.samples_per_s is not None:
                found[rank.host] += rank.samples_per_s
        return dict(found)

    def to_json(self) -> dict[str, Any]:
        """Return what stands in ``result.json``."""
        return asdict(self)


def parse_figures(result: object) -> TrainingFigures | None:
    """Return the figures in a job's result; None if it has none, or damaged ones."""
    try:
        told: Any = result[KEY] if isinstance(result, dict) else None
        ranks = tuple(RankSpeed(str(r["host"]), _speed(r["samples_per_s"])) for r in told["ranks"])
        figures = TrainingFigures(int(told["global_batch"]), int(told["gradient_bytes"]), ranks)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    sound = figures.global_batch > 0 and figures.gradient_bytes >= 0
    return figures if sound and figures.by_host() else None


def _speed(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{value!r} is not above 0")
    return number

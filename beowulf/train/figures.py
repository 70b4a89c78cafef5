"""What a run tells of itself at its end: the figures from which others like it are predicted."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from beowulf.durable import parse_json_lines, read_tail
from beowulf.job.figures import RankSpeed, TrainingFigures
from beowulf.train.gradients import is_torch_module, listed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from beowulf.train.gradients import Gradients

TAIL_BYTES = 1 << 18  # hundreds of steps; the first ones, in which all is cold, fall out soonest
COLD_STEPS = 2


def bytes_of(gradients: Gradients) -> int:
    """Return how many bytes of gradients a step averages, in the type in which they come."""
    if is_torch_module(gradients):
        wanted = (each for each in gradients.parameters() if each.requires_grad)
        return sum(each.numel() * each.element_size() for each in wanted)
    return sum(array.nbytes for array in listed(gradients) if hasattr(array, "nbytes"))


def figures_of(
    metrics: Path, hosts: Sequence[str], global_batch: int, gradient_bytes: int
) -> TrainingFigures | None:
    """Return a run's figures from its newest metrics; None if no rank's speed is known.

    ``hosts`` has one name per rank. A rank's speed is the median of its share by the time
    that it computed for it.
    """
    lines = list(parse_json_lines(read_tail(metrics, TAIL_BYTES)))
    lines = [line for line in lines if line.get("step", 0) > COLD_STEPS] or lines
    ranks = tuple(RankSpeed(host, _speed(lines, rank)) for rank, host in enumerate(hosts))
    if not any(rank.samples_per_s for rank in ranks):
        return None
    return TrainingFigures(global_batch, gradient_bytes, ranks)


def _speed(lines: Sequence[dict[str, Any]], rank: int) -> float | None:
    speeds = []
    for line in lines:
        shares, compute_s = line.get("shares") or (), line.get("compute_s") or ()
        if len(shares) > rank < len(compute_s) and shares[rank] and compute_s[rank]:
            speeds.append(shares[rank] / compute_s[rank])
    return median(speeds) if speeds else None

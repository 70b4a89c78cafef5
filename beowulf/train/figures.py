"""What a run tells of itself at its end: the figures from which others like it are predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.durable import parse_json_lines, read_tail
from beowulf.job.figures import RankSpeed, TrainingFigures
from beowulf.job.paces import paces_of
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

    ``hosts`` has one name per rank.
    """
    lines = list(parse_json_lines(read_tail(metrics, TAIL_BYTES)))
    paces = paces_of([line for line in lines if line.get("step", 0) > COLD_STEPS] or lines)
    if paces is None or len(paces.ranks) != len(hosts):
        return None
    ranks = tuple(
        RankSpeed(host, pace.samples_per_s) for host, pace in zip(hosts, paces.ranks, strict=True)
    )
    if not any(rank.samples_per_s for rank in ranks):
        return None
    return TrainingFigures(global_batch, gradient_bytes, ranks)

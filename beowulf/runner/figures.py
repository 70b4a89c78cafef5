"""The figures of a job for a prediction: from an earlier job of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.job.figures import TrainingFigures, parse_figures

if TYPE_CHECKING:
    from beowulf.runner.backend import Backend

LOOKED_AT = 200  # jobs, the newest


def figures_of_earlier_job(backend: Backend, name: str) -> tuple[str, TrainingFigures] | None:
    """Return the ID and the figures of the newest job of this name that tells them."""
    for record in reversed(backend.records(LOOKED_AT)):
        figures = parse_figures(record.result) if record.name == name else None
        if figures is not None:
            return record.id, figures
    return None

"""Draw what a person would rather look at than read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.job.directory import JobDirectory
from beowulf.job.durable import read_json_lines

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.train.run import Run

SMOOTHED_OVER = 50  # about so many points make a readable curve


def draw_loss_curve(run: Run, title: str) -> Path | None:
    """Draw the job's loss, step by step, into ``loss.png``. Rank 0 draws, the others return None.

    Needs matplotlib, from ``pip install 'beowulf[jobs]'``.
    """
    if run.rank != 0:
        return None
    import matplotlib as mpl  # noqa: PLC0415 - slow, and only one rank draws

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    run.flush_metrics()
    directory = JobDirectory(run.directory)
    lines = [line for line in read_json_lines(directory.metrics) if line["loss"] is not None]
    steps = [line["step"] for line in lines]
    losses = [line["loss"] for line in lines]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(steps, losses, color="#9ecae1", linewidth=1, label="each step")
    axes.plot(steps, _smoothed(losses), color="#08519c", linewidth=2, label="smoothed")
    axes.set(title=title, xlabel="step", ylabel="loss (mean over the global batch)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path = directory.path / "loss.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _smoothed(values: list[float]) -> list[float]:
    """Return the exponential moving average over about a 50th of the values."""
    weight = 1 / max(1, len(values) // SMOOTHED_OVER)
    result: list[float] = []
    for value in values:
        result.append(value if not result else result[-1] + weight * (value - result[-1]))
    return result

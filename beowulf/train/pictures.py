"""Draw what a person would rather look at than read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from beowulf.durable import read_json_lines
from beowulf.job.directory import JobDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from beowulf.train.run import Run

SMOOTHED_OVER = 50  # about so many points make a readable curve
LOGARITHMIC_FROM = 20.0  # a loss that falls to a 20th is flat on a linear axis most of the way


def draw_loss_curve(
    run: Run,
    title: str,
    *,
    unit: str = "mean over the global batch",
    levels: Mapping[str, float] | None = None,
) -> Path | None:
    """Draw the job's loss, step by step, into ``loss.png``. Rank 0 draws, the others return None.

    ``levels`` are losses to compare with, by name; each becomes a dashed line. Needs
    matplotlib, from ``pip install 'beowulf[jobs]'``.
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
    losses = np.array([line["loss"] for line in lines], np.float64)
    smoothed = _smoothed(losses)
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(steps, losses, color="#9ecae1", linewidth=1, label="each step")
    axes.plot(steps, smoothed, color="#08519c", linewidth=2, label="smoothed")
    for name, level in (levels or {}).items():
        axes.axhline(level, color="#636363", linewidth=1, linestyle="--")
        axes.annotate(
            f"{name}: {level:.3g}",
            (1, level),
            (-4, 4),
            color="#636363",
            size="small",
            ha="right",
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    if len(losses) and losses.min() > 0 and smoothed.max() > LOGARITHMIC_FROM * smoothed.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set(title=title, xlabel="step", ylabel=f"loss ({unit})")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper right")
    path = directory.path / "loss.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each value's mean with its neighbours, about a 50th of all values.

    The window is centred, so that the curve does not lag behind the values, and starts
    narrow, so that their steep beginning stays.
    """
    position = np.arange(len(values))
    before = np.minimum(len(values) // SMOOTHED_OVER // 2, position)
    after = np.minimum(before, position[::-1])
    total = np.concatenate([[0.0], np.cumsum(values)])
    sums = total[position + after + 1] - total[position - before]
    mean: NDArray[np.float64] = sums / (before + after + 1)
    return mean

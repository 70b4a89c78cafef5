"""How many steps each strategy takes to a target accuracy on real data, and where it ends.

``python -m bench.accuracy``: a quarter of an hour on two cores; needs scikit-learn. Times on a
slow wire are those of ``bench.training``; a strategy is judged by both together.
"""

from __future__ import annotations

import statistics
from typing import Any

from bench.harness import Report, Table, run_alone, summarize
from bench.launch import run_ranks

ROUNDS = 3  # seeds
RANKS = 2
SHARES = "2:1"
WIDTH = 2460  # 25 MB of gradients
BATCH, EPOCHS, RATE = 128, 10, 0.05
STEPS_PER_EPOCH = 10  # of 1197 samples
TARGET = 0.95
POINTS_LOST = 0.3
REFERENCE = "dense"


def steps_to(target: float, accuracies: list[float]) -> float:
    """Return after how many steps the target was reached, at the end of an epoch."""
    for epoch, accuracy in enumerate(accuracies, start=1):
        if accuracy >= target:
            return float(epoch * STEPS_PER_EPOCH)
    return float("inf")


def measure(rounds: int = ROUNDS) -> Report:
    """Train with each strategy over ``rounds`` seeds."""
    options: dict[str, Any] = {
        "--width": WIDTH, "--epochs": EPOCHS, "--batch": BATCH, "--seeds": rounds,
        "--rate": RATE, "--shares": SHARES,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (name, str(value))]
    found: dict[str, list[list[float]]] = run_ranks("accuracy", RANKS, words)
    last = {way: [100 * one[-1] for one in runs] for way, runs in found.items()}
    reference = statistics.fmean(last[REFERENCE])
    rows, figures = [], {}
    for way, runs in found.items():
        steps = [steps_to(TARGET, one) for one in runs]
        figures[f"{way}, final accuracy, %"] = summarize(last[way])
        if max(steps) < float("inf"):
            figures[f"{way}, steps to the target"] = summarize(steps)
        mean = statistics.fmean(last[way])
        rows.append([
            way, " ".join(f"{count:g}" for count in steps), f"{mean:.2f}",
            " ".join(f"{one:.2f}" for one in last[way]), f"{mean - reference:+.2f}",
        ])  # fmt: skip
    lost = {way: reference - statistics.fmean(values) for way, values in last.items()}
    losers = [way for way, points in lost.items() if points > POINTS_LOST]
    return Report(
        name="accuracy",
        title=f"Accuracy, {RANKS} ranks with shares {SHARES}, 25 MB of gradients",
        table=Table(
            ["strategy", f"steps to {TARGET:.0%}, by seed", "final accuracy, %, mean", "by seed",
             f"points over {REFERENCE}"],
            rows,
        ),
        verdict=f"Target: at most {POINTS_LOST} points below {REFERENCE} in the end. "
        + (f"MISSED by {', '.join(losers)}." if losers else "All are within it."),
        figures=figures,
    )  # fmt: skip


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

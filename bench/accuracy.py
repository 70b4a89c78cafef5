"""How long each strategy takes to a target accuracy on real data, and where it ends.

``python -m bench.accuracy``: a quarter of an hour on two cores; needs scikit-learn and PyTorch. The
steps are counted here; how long one takes on nodes of 4 : 2 : 1 with 100 Mbit/s is what
``bench.training`` found last. A strategy is judged by both together.
"""

from __future__ import annotations

import json
import math
import statistics
from typing import TYPE_CHECKING, Any

from bench.harness import Report, Table, run_alone, summarize
from bench.launch import REPOSITORY, run_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

    Runs = list[tuple[int, float]]  # after so many steps, such an accuracy

ROUNDS = 3  # seeds
RANKS = 2
SHARES = "2:1"
WIDTH = 2460  # 25 MB of gradients
BATCH, EPOCHS, RATE = 128, 10, 0.05
TARGET = 0.95
POINTS_LOST = 0.3
FASTER = 3.0
REFERENCE = "dense"
BY_HAND = "DDP balanced, fp16"
TIMES = REPOSITORY / "docs" / "benchmarks" / "training.json"
CASES = ("4 : 2 : 1, 25 MB, 100mbit", "local steps, 25 MB, 100mbit")
TIMED_AS = {"powersgd, rank 4": "powersgd"}  # other names in bench.training


def steps_to(target: float, accuracies: Runs) -> float:
    """Return after how many steps the target was reached first."""
    return min((float(steps) for steps, found in accuracies if found >= target), default=math.inf)


def seconds_per_step(document: Mapping[str, Any]) -> dict[str, float]:
    """Return how long a step of each way takes with 25 MB, from what ``bench.training`` found."""
    found: dict[str, float] = {}
    for case in CASES:
        for way, seconds in document["cases"].get(case, {}).get("seconds", {}).items():
            found.setdefault(way, statistics.median(seconds))
    return found


def measure(rounds: int = ROUNDS) -> Report:
    """Train with each strategy over ``rounds`` seeds."""
    options: dict[str, Any] = {
        "--width": WIDTH, "--epochs": EPOCHS, "--batch": BATCH, "--seeds": rounds,
        "--rate": RATE, "--shares": SHARES,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (name, str(value))]
    found: dict[str, list[Runs]] = run_ranks("accuracy", RANKS, words)
    return report(found, seconds_per_step(json.loads(TIMES.read_text())))


def report(found: Mapping[str, list[Runs]], step_s: Mapping[str, float]) -> Report:
    """Return what the accuracies, by way and seed, and the times of a step come to."""
    last = {way: [100 * one[-1][1] for one in runs] for way, runs in found.items()}
    whole = {way: [steps_to(TARGET, one) for one in runs] for way, runs in found.items()}
    timed = {way: step_s.get(TIMED_AS.get(way, way)) for way in found}
    until = {
        way: statistics.fmean(whole[way]) * seconds for way, seconds in timed.items() if seconds
    }
    points = {
        way: statistics.fmean(values) - statistics.fmean(last[REFERENCE])
        for way, values in last.items()
    }
    rows, figures = [], {}
    for way in found:
        figures[f"{way}, final accuracy, %"] = summarize(last[way])
        if max(whole[way]) < math.inf:
            figures[f"{way}, steps to the target"] = summarize(whole[way])
        seconds = timed[way]
        rows.append([
            way, " ".join(f"{count:g}" for count in whole[way]),
            f"{1e3 * seconds:.0f}" if seconds else "",
            f"{until[way]:.0f}" if way in until else "",
            f"{until[BY_HAND] / until[way]:.2f}" if {way, BY_HAND} <= until.keys() else "",
            f"{statistics.fmean(last[way]):.2f}",
            " ".join(f"{one:.2f}" for one in last[way]), f"{points[way]:+.2f}",
        ])  # fmt: skip
    return Report(
        name="accuracy",
        title=f"Time to {TARGET:.0%}, {RANKS} ranks with shares {SHARES}, 25 MB of gradients",
        table=Table(
            ["way", "steps, by seed", "ms per step", f"s to {TARGET:.0%}", "x DDP fp16",
             "final accuracy, %, mean", "by seed", f"points over {REFERENCE}"],
            rows,
        ),
        verdict=_verdict(until, points),
        figures=figures,
    )  # fmt: skip


def _verdict(until: Mapping[str, float], points: Mapping[str, float]) -> str:
    good = [way for way in until if points[way] >= -POINTS_LOST and way != BY_HAND]
    if BY_HAND not in until or not good:
        return "Nothing to compare: run python -m bench.training --write before."
    best = min(good, key=lambda way: until[way])
    factor = until[BY_HAND] / until[best]
    word = "meets" if factor >= FASTER else "MISSES"
    return (
        f"Target: {FASTER:g} times as fast as {BY_HAND}, at most {POINTS_LOST} points below "
        f"{REFERENCE} in the end. {best} is {factor:.2f} times as fast: {word} the target."
    )


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

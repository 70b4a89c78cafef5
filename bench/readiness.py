"""What it costs to be ready to go on without a rank that is lost."""

from __future__ import annotations

from bench.harness import Report, Table, alternate, ratios, run_alone, summarize, verdict
from bench.launch import run_ranks
from bench.overhead import SIZES

ROUNDS = 9
STEPS = {"0.1 ms": 20_000, "1 ms": 3_000, "10 ms": 300}
RANKS = 2
TARGET_PERCENT = 2.0


def seconds_per_step(width: int, global_batch: int, steps: int, *, survives: bool) -> float:
    """Run one world of ranks, and return how long a step took in the median."""
    words = [str(word) for word in (width, global_batch, steps)]
    return float(run_ranks("readiness", RANKS, words, survives=survives))


def measure(rounds: int = ROUNDS) -> Report:
    """Compare steps of worlds that would survive with those of worlds that would not."""
    rows = []
    figures = {}
    worst = 0.0
    for size in SIZES:
        given = (size.width, size.samples_per_rank * RANKS, STEPS[size.label])
        ways = {
            "without": lambda given=given: seconds_per_step(*given, survives=False),
            "ready": lambda given=given: seconds_per_step(*given, survives=True),
        }
        found = alternate(ways, rounds)
        for name, values in found.items():
            figures[f"{size.label}, {name}"] = summarize(values)
        ratio = figures[f"{size.label}, ratio"] = ratios(found["ready"], found["without"])
        medians = [figures[f"{size.label}, {name}"].median * 1e3 for name in ways]
        rows.append([size.label, *(f"{median:.3f}" for median in medians), *ratio.cells(3)])
        if size.is_target:
            worst = max(worst, (ratio.median - 1) * 100)
    return Report(
        name="readiness",
        title=f"Steps of {RANKS} ranks that are ready to go on without one another",
        table=Table(["step", "without, ms", "ready, ms", "ratio", "quartiles", "range"], rows),
        verdict=verdict("being ready, at 1 ms per step", worst, TARGET_PERCENT, " %"),
        figures=figures,
    )


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

"""What sending gradients during the backward pass gains, against sending them after it."""

from __future__ import annotations

from bench.harness import Report, Table, ratios, run_alone, summarize
from bench.launch import run_ranks

ROUNDS = 30
RANKS = 2
LAYER_MS = 5.0
KINDS = {"computes on the ranks' cores": 0, "waits, and leaves the cores": 1}


def measure(rounds: int = ROUNDS) -> Report:
    """Compare the ways, for a pass that computes and for one that waits."""
    rows = []
    figures = {}
    for kind, waits in KINDS.items():
        words = ["--layer-ms", str(LAYER_MS), "--rounds", str(rounds), "--waits", str(waits)]
        found = run_ranks("overlap", RANKS, words)
        for way, seconds in found.items():
            figures[f"{kind}, {way}"] = summarize(seconds)
        ratio = figures[f"{kind}, ratio"] = ratios(found["during"], found["after"])
        medians = [f"{summarize(found[way]).median * 1e3:.1f}" for way in found]
        rows.append([kind, *medians, *ratio.cells(2)[:2]])
    return Report(
        name="overlap",
        title=f"Sending during the backward pass, {RANKS} ranks, 8 buckets",
        table=Table(
            ["the pass", "pass alone, ms", "exchange alone, ms", "sent after, ms",
             "sent during, ms", "during / after", "quartiles"],
            rows,
        ),
        figures=figures,
    )  # fmt: skip


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

"""How much memory training takes beyond that of bare PyTorch, in copies of the gradients.

Needs PyTorch, so it is run by itself: ``python -m bench.memory``.
"""

from __future__ import annotations

from bench.harness import Report, Table, run_alone, summarize, verdict
from bench.launch import run_ranks

ROUNDS = 5
RANKS = 2
WIDTH, LAYERS, STEPS = 1000, 25, 20  # 100 MB of gradients; overlap has been tried by then
BARE = "bare"
WAYS = ("dense", "fp16", "powersgd")
TARGET_COPIES = 1.0
JUDGED = "dense"


def measure(rounds: int = ROUNDS) -> Report:
    """Compare the most memory that a rank has had, way by way, in turn."""
    copies: dict[str, list[float]] = {way: [] for way in WAYS}
    bare_mb: list[float] = []
    gradients = 0.0
    for _ in range(rounds):
        bare = _most(BARE)
        bare_mb.append(bare[0] / 1e6)
        gradients = bare[1]
        for way in WAYS:
            copies[way].append((_most(way)[0] - bare[0]) / gradients)
    figures = {f"{way}, copies": summarize(values) for way, values in copies.items()}
    figures["bare, MB"] = summarize(bare_mb)
    return Report(
        name="memory",
        title=f"Memory beyond bare PyTorch's {figures['bare, MB'].median:.0f} MB",
        table=Table(
            [f"copies of {gradients / 1e6:.0f} MB", "median", "quartiles", "range"],
            [[way, *figures[f"{way}, copies"].cells(2)] for way in WAYS],
        ),
        verdict=verdict(
            f"{JUDGED} beyond bare PyTorch", figures[f"{JUDGED}, copies"].median, TARGET_COPIES,
            " copies of the gradients",
        ),
        figures=figures,
    )  # fmt: skip


def _most(way: str) -> tuple[float, float]:
    """Return the most bytes that any rank has had, and how many its gradients are."""
    words = ["--way", way, "--width", WIDTH, "--layers", LAYERS, "--steps", STEPS]
    found = run_ranks("memory", RANKS, list(map(str, words)))
    return max(found["most"]), found["gradients"]


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

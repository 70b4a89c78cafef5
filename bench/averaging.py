"""How long each strategy takes to average the same arrays, against the plainest one."""

from __future__ import annotations

from dataclasses import dataclass

from bench.harness import Report, Table, ratios, run_alone, summarize
from bench.launch import run_ranks

ROUNDS = 30
TURNS = 10
RANKS = 2
BYTES_PER_NUMBER = 8
REFERENCE = "naive"


@dataclass(frozen=True)
class Case:
    """So many arrays of so many numbers each, averaged ``block`` times in one go."""

    count: int
    size: int
    block: int

    @property
    def label(self) -> str:
        """Say what is averaged."""
        return f"{self.count} x {self.size * BYTES_PER_NUMBER / 1e3:g} kB"

    def words(self, rounds: int) -> list[str]:
        """Return what ``bench.ranks.exchange`` needs to know."""
        values = {
            "--count": self.count,
            "--size": self.size,
            "--block": self.block,
            "--turns": TURNS,
            "--rounds": rounds,
        }
        return [word for name, value in values.items() for word in (name, str(value))]


CASES = (
    Case(count=1, size=1_000, block=200),
    Case(count=10, size=1_000, block=50),
    Case(count=100, size=1_000, block=10),
    Case(count=10, size=10_000, block=20),
    Case(count=4, size=250_000, block=2),
)


def measure(rounds: int = ROUNDS) -> Report:
    """Compare every other strategy with ``naive``, case by case."""
    rows = []
    figures = {}
    for case in CASES:
        found = run_ranks("exchange", RANKS, case.words(rounds))
        naive = figures[f"{case.label}, {REFERENCE}"] = summarize(found[REFERENCE])
        for name in found.keys() - {REFERENCE}:
            other = figures[f"{case.label}, {name}"] = summarize(found[name])
            ratio = figures[f"{case.label}, {name} / {REFERENCE}"] = ratios(
                found[name], found[REFERENCE]
            )
            times = [f"{summary.median * 1e6:.0f}" for summary in (naive, other)]
            rows.append([case.label, name, *times, *ratio.cells(2)])
    return Report(
        name="averaging",
        title=f"Averaging, {RANKS} ranks",
        table=Table(
            ["arrays", "strategy", f"{REFERENCE}, µs", "strategy, µs", "ratio, median",
             "quartiles", "range"],
            rows,
        ),
        figures=figures,
    )  # fmt: skip


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

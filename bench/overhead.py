"""What the training library adds to a step, beyond the same loop by hand with bare mpi4py."""

from __future__ import annotations

from dataclasses import dataclass

from bench.harness import Report, Table, differences, ratios, run_alone, summarize, verdict
from bench.launch import run_ranks

ROUNDS = 8
LAUNCHES = 4  # where a process's arrays lie in memory is luck, so several try theirs
TURNS = 20
RANKS = (1, 2)
TARGET_PERCENT = 5.0


@dataclass(frozen=True)
class Size:
    """A network whose step takes about ``label``, timed ``block`` steps in one go."""

    label: str
    width: int
    samples_per_rank: int
    block: int
    is_target: bool = False

    def words(self, ranks: int, rounds: int) -> list[str]:
        """Return what ``bench.ranks.loops`` needs to know."""
        values = {
            "--width": self.width,
            "--global-batch": self.samples_per_rank * ranks,
            "--block": self.block,
            "--turns": TURNS,
            "--rounds": rounds,
        }
        return [word for name, value in values.items() for word in (name, str(value))]


SIZES = (
    Size("0.1 ms", width=64, samples_per_rank=64, block=200),
    Size("1 ms", width=384, samples_per_rank=256, block=20, is_target=True),  # as jobs/digits
    Size("10 ms", width=2048, samples_per_rank=384, block=2),
)


def seconds_per_step(size: Size, ranks: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return each round's seconds per step, by hand and with the library, of all launches."""
    by_hand: list[float] = []
    library: list[float] = []
    for _ in range(LAUNCHES):
        found = run_ranks("loops", ranks, size.words(ranks, rounds))
        by_hand += found["by_hand"]
        library += found["library"]
    return by_hand, library


def measure(rounds: int = ROUNDS) -> Report:
    """Compare the loops at each size, on each number of ranks."""
    rows = []
    figures = {}
    worst = 0.0
    for ranks in RANKS:
        for size in SIZES:
            hand, library = seconds_per_step(size, ranks, rounds)
            name = f"{size.label}, {ranks} rank{'s' if ranks > 1 else ''}"
            figures[f"{name}, by hand"] = summarize(hand)
            figures[f"{name}, library"] = summarize(library)
            ratio = figures[f"{name}, ratio"] = ratios(library, hand)
            beyond = figures[f"{name}, difference"] = differences(library, hand)
            rows.append(
                [
                    name,
                    f"{figures[f'{name}, by hand'].median * 1e3:.3f}",
                    f"{figures[f'{name}, library'].median * 1e3:.3f}",
                    *ratio.cells(3),
                    *beyond.scaled(1e6).cells(1)[:2],
                ]
            )
            if size.is_target:
                worst = max(worst, (ratio.median - 1) * 100)
    return Report(
        name="overhead",
        title="What the training library adds to a step",
        table=Table(
            ["step, world", "by hand, ms", "library, ms", "ratio, median", "quartiles", "range",
             "added µs, median", "quartiles"],
            rows,
        ),
        verdict=verdict("what is added to a step of 1 ms", worst, TARGET_PERCENT, " %"),
        figures=figures,
    )  # fmt: skip


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

"""How long ``beowulf --help`` takes beyond starting Python at all."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import Report, Table, alternate, differences, run_alone, summarize, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 30
TARGET_S = 0.2


def timed(command: list[str]) -> Callable[[], float]:
    """Return a function that runs ``command`` and returns how many seconds it took."""

    def run() -> float:
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started

    return run


def measure(rounds: int = ROUNDS) -> Report:
    """Compare ``beowulf --help`` with ``python -c pass``."""
    beowulf = str(Path(sysconfig.get_path("scripts")) / "beowulf")
    ways = {
        "`python -c pass`": [sys.executable, "-c", "pass"],
        "`beowulf --help`": [beowulf, "--help"],
    }
    bare, ours = ways
    times = alternate({name: timed(command) for name, command in ways.items()}, rounds)
    beyond = differences(times[ours], times[bare])
    figures = {
        bare: summarize(times[bare]),
        ours: summarize(times[ours]),
        "difference": beyond,
    }
    return Report(
        name="startup",
        title="Starting: `beowulf --help`",
        table=Table(
            ["ms", "median", "quartiles", "range"],
            [[name, *figure.scaled(1e3).cells(1)] for name, figure in figures.items()],
        ),
        verdict=verdict("`--help` beyond bare Python", beyond.median, TARGET_S, " s"),
        figures=figures,
    )


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

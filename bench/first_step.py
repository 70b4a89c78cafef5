"""How long ``beowulf submit`` takes to the first training step, beyond a bare ``mpiexec``."""

from __future__ import annotations

import subprocess
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import Report, Table, alternate, differences, run_alone, summarize, verdict
from bench.launch import TIMEOUT_S, Sandbox, mpiexec, sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 15
RANKS = 2
TARGET_S = 1.5
SCRIPTS = Path(__file__).parent / "scripts"
BARE = "`mpiexec`, written by hand"
LIBRARY = "`mpiexec`, with the library"
SUBMITTED = "`beowulf submit`, with the library"


def seconds_to_first_step(here: Sandbox, command: list[str]) -> Callable[[], float]:
    """Return a function that runs ``command`` to its end and returns when its first step began.

    Counted from just before the command is started; the script's word is read from
    the file that it was given.
    """
    reached = here.path / "first-step"

    def run() -> float:
        reached.unlink(missing_ok=True)
        started_ns = time.time_ns()
        subprocess.run(
            command,
            cwd=here.path,
            env=here.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=True,
        )
        return (int(reached.read_text()) - started_ns) / 1e9

    return run


def measure(rounds: int = ROUNDS) -> Report:
    """Compare a submitted job with ``mpiexec`` of the same script and of one without the library.

    All three start ranks of one thread with the same options of MPI.
    """
    beowulf = Path(sysconfig.get_path("scripts")) / "beowulf"
    submit = [str(beowulf), "submit", "-n", str(RANKS), "--threads-per-rank", "1"]
    with sandbox() as here:
        reached = str(here.path / "first-step")
        library = SCRIPTS / "library.py"
        commands = {
            BARE: mpiexec(RANKS, SCRIPTS / "by_hand.py", reached),
            LIBRARY: mpiexec(RANKS, library, reached),
            SUBMITTED: [*submit, str(library), "--", reached],
        }
        ways = {name: seconds_to_first_step(here, words) for name, words in commands.items()}
        times = alternate(ways, rounds)
    figures = {
        **{name: summarize(values) for name, values in times.items()},
        "submit beyond `mpiexec` of the same script": differences(times[SUBMITTED], times[LIBRARY]),
        "submit beyond `mpiexec` of one by hand": differences(times[SUBMITTED], times[BARE]),
    }
    beyond = figures["submit beyond `mpiexec` of the same script"].median
    return Report(
        name="first_step",
        title=f"From the command to the first step, {RANKS} ranks",
        table=Table(
            ["s", "median", "quartiles", "range"],
            [[name, *figure.cells(2)] for name, figure in figures.items()],
        ),
        verdict=verdict("submit beyond `mpiexec` of the same script", beyond, TARGET_S, " s"),
        figures=figures,
    )


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

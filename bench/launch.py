"""Start ranks with a bare ``mpiexec``, under the very options that a submitted job gets."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beowulf.runner.batch_script import THREAD_VARIABLES, render_local
from beowulf.runner.local import find_mpiexec
from beowulf.runner.machine import Layout
from beowulf.runner.spec import spec_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPOSITORY = Path(__file__).parents[1]
TIMEOUT_S = 1800


@dataclass(frozen=True)
class Sandbox:
    """A directory in which a benchmark's jobs and files live until it ends."""

    path: Path

    def environment(self) -> dict[str, str]:
        """Return the environment of a user with no jobs, one thread per rank."""
        foreign = ("BEOWULF_", "OMPI_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        own = {
            "HOME": str(self.path),
            "TMPDIR": str(self.path),
            "XDG_STATE_HOME": str(self.path / "state"),
            "PYTHONUNBUFFERED": "1",
        }
        if os.geteuid() == 0:  # Open MPI refuses root; allowed for these children alone
            own["OMPI_ALLOW_RUN_AS_ROOT"] = own["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
        return {**kept, **dict.fromkeys(THREAD_VARIABLES, "1"), **own}

    def job_environment(self, ranks: int) -> dict[str, str]:
        """Return the environment of a rank in a job directory of its own."""
        job = Path(tempfile.mkdtemp(prefix="job-", dir=self.path))
        (job / "heartbeat").mkdir()
        return {
            **self.environment(),
            "BEOWULF_JOB_DIR": str(job),
            "BEOWULF_RANKS": str(ranks),
        }


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Give a sandbox and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="beowulf-bench-") as path:
        yield Sandbox(Path(path))


def mpi_options(ranks: int, *, survives: bool = False) -> list[str]:
    """Return what a job's own batch script gives to ``mpiexec`` for ranks of one thread.

    ``survives`` says whether those that are left are to go on when a rank is lost.
    """
    command = ["python", "train.py"] if survives else ["true"]
    spec = spec_from({"command": command}, default_name="bench")
    here = Path()  # neither mpiexec's nor Python's place is among the options
    script = render_local(spec, Layout(ranks, threads_per_rank=1), mpiexec=here, python=here)
    _, start, rest = script.partition("\noptions=(\n")
    options, end, _ = rest.partition("\n)\n")
    if not (start and end):
        raise ValueError(f"batch script: no options=(...) in it; adapt {__name__}.mpi_options")
    return shlex.split(options, comments=True)


def mpiexec(ranks: int, *words: str | Path, survives: bool = False) -> list[str]:
    """Return the command that runs ``python -m mpi4py WORDS`` on so many ranks."""
    options = mpi_options(ranks, survives=survives)
    return [str(find_mpiexec()), *options, sys.executable, "-m", "mpi4py", *map(str, words)]


def run_ranks(module: str, ranks: int, arguments: Sequence[str], *, survives: bool = False) -> Any:
    """Run a module of ``bench.ranks`` under ``mpiexec`` in a job directory; return its findings.

    The module gets the path of a JSON file for rank 0 to write as its first argument. One whose
    ranks are to survive others must end as ``beowulf.rank.script.end_orderly`` does.

    Raises:
        subprocess.CalledProcessError: It failed; what it printed is on the terminal.
    """
    with sandbox() as here:
        found = here.path / "found.json"
        subprocess.run(
            mpiexec(ranks, "-m", f"bench.ranks.{module}", found, *arguments, survives=survives),
            cwd=REPOSITORY,
            env=here.job_environment(ranks),
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=True,
        )
        return json.loads(found.read_bytes())

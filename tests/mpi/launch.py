"""Run a function on several ranks at once: the same assertions at every number of ranks.

``on_ranks(3, check_something, 1, "two")`` starts three ranks that each call
``check_something(1, "two")``; an assertion that fails on any of them fails the test.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from beowulf.runner.local import find_mpiexec

REPOSITORY = Path(__file__).parents[2]
OPTIONS = (
    "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none", "--mca", "pml", "ob1",
    "--mca", "btl", "self,sm", "--mca", "osc", "sm", "--mca", "mpi_yield_when_idle", "1",
)  # fmt: skip
TIMEOUT_S = 120
ROOT_ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def on_ranks(
    ranks: int, function: Callable[..., None], *arguments: Any, env: dict[str, str] | None = None
) -> str:
    """Call a module-level function on every rank of a new world; return what it printed."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("BEOWULF_")}
    words = [function.__module__, function.__name__, json.dumps(arguments)]
    with TemporaryDirectory(prefix="beowulf-") as sessions:  # not one that a killed run left
        own = {"PRTE_MCA_prte_tmpdir_base": sessions, **ROOT_ALLOWED, **SINGLE_THREADED}
        return _launch(ranks, words, {**outer, **own, **(env or {})})


def _launch(ranks: int, words: list[str], env: dict[str, str]) -> str:
    launcher = subprocess.Popen(
        [
            find_mpiexec(), "-n", str(ranks), *OPTIONS,
            sys.executable, "-m", "mpi4py", "-m", "tests.mpi.launch", *words,
        ],
        cwd=REPOSITORY,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        out, err = launcher.communicate(timeout=TIMEOUT_S)
    finally:
        launcher.terminate()  # which ends its ranks too, as killing it would not
        launcher.wait()
    assert launcher.returncode == 0, f"{out}\n{err}"
    return out


def main() -> None:
    """Be one rank: call the function that the arguments name."""
    module, name, arguments = sys.argv[1:]
    getattr(importlib.import_module(module), name)(*json.loads(arguments))


if __name__ == "__main__":
    main()

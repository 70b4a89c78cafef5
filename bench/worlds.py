"""Start a world of ranks, one on each node of a network, with a job's settings or without."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from bench.launch import REPOSITORY, Sandbox
from beowulf.runner.local import find_mpiexec
from beowulf.runner.mpi_settings import CLUSTER, allreduce_rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.network import Network

INTERFACE = "eth0"
LAUNCHER_GRACE_S = 10
MOST_SAID = 600


class WorldFailed(Exception):
    """A world of ranks ended badly or took too long; says what it printed last."""


def cluster_options(directory: Path) -> list[str]:
    """Return the settings that a job on a cluster gets; ``directory`` is for its rules."""
    rules = directory / "allreduce.rules"
    rules.write_text(allreduce_rules() + "\n")
    words = ["--mca", "coll_tuned_dynamic_rules_filename", str(rules)]
    for setting in CLUSTER:
        words += ["--mca", setting.name, setting.value]
    return words


def run_world(  # noqa: PLR0913 - each named at the call
    here: Sandbox,
    network: Network,
    module: str,
    arguments: Sequence[object],
    *,
    tuned: bool,
    timeout_s: float,
) -> Any:
    """Run a module of ``bench.ranks`` on every node, and return what rank 0 found.

    ``tuned`` with a job's settings, else with Open MPI's own.

    Raises:
        WorldFailed: It failed, or took more than ``timeout_s``.
    """
    found = here.path / "found.json"
    found.unlink(missing_ok=True)
    ranks = len(network.nodes)
    environment = here.job_environment(ranks) | {
        "BENCH_ADDRESSES": ",".join(node.address for node in network.nodes),
        "BENCH_INTERFACE": INTERFACE,
        "PRTE_MCA_prte_tmpdir_base": str(here.path),
        "PYTHONPATH": str(REPOSITORY),
    }
    words = [
        str(find_mpiexec()), *network.launcher_options, "--bind-to", "none",
        *(cluster_options(here.path) if tuned else []),
        sys.executable, "-m", "mpi4py", "-m", f"bench.ranks.{module}", str(found),
        *map(str, arguments),
    ]  # fmt: skip
    _run(network.nodes[0].enter(words), environment, timeout_s)
    try:
        return json.loads(found.read_bytes())
    except (OSError, ValueError):
        raise WorldFailed(f"{shlex.join(words)[-MOST_SAID:]}: wrote no findings") from None


def _run(command: Sequence[str], environment: dict[str, str], timeout_s: float) -> None:
    """Run the launcher to its end. It ends with this process, and its ranks with it."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", *command],
        cwd=REPOSITORY,
        env=environment | {name: os.environ[name] for name in ("PATH",)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise WorldFailed(f"not done after {timeout_s:.0f} s") from None
    finally:
        _end(process)
    for line in said.splitlines():
        if line.startswith(("left out:", "raw TCP")):
            print(f"    {line}", file=sys.stderr, flush=True)
    if process.returncode != 0:
        raise WorldFailed(f"exit {process.returncode}: {last_words(said)}")


def last_words(said: str) -> str:
    """Return what a world complained of: the first error, less what the launcher adds."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exit|Failed)\b", line)]
    return (errors or lines or ["it said nothing"])[0][:MOST_SAID]


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)  # upon which it ends its ranks
        try:
            process.wait(LAUNCHER_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

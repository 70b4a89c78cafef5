"""What would be run, and why: told by ``beowulf submit --explain`` without running anything."""

from __future__ import annotations

import ast
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from beowulf.runner import mpi_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from beowulf.runner.machine import Layout
    from beowulf.runner.mpi_settings import Setting
    from beowulf.runner.spec import JobSpec

# Of train.Run; a test holds the two together, since nothing here may import what ranks run.
DEFAULT_AVERAGING = "auto"


@dataclass(frozen=True)
class Explanation:
    """One job as it would be run. None stands for what is known only when it starts.

    ``nodes`` is a number or a range, as text; ``settings`` are Open MPI's.
    """

    cluster: str | None
    name: str
    command: tuple[str, ...]
    ranks: int | None
    nodes: str | None
    ranks_per_node: int | None
    threads_per_rank: int | None
    averaging: str
    settings: tuple[Setting, ...]
    script: str

    def to_json(self) -> dict[str, Any]:
        """Return it as it is printed with ``--json``."""
        return asdict(self)


def of_this_computer(
    spec: JobSpec, layout: Layout, script: str, work_directory: Path
) -> Explanation:
    """Explain a job whose ranks would all run here."""
    return Explanation(
        cluster=None,
        name=spec.name,
        command=spec.command,
        ranks=layout.ranks,
        nodes="1",
        ranks_per_node=layout.ranks,
        threads_per_rank=layout.threads_per_rank,
        averaging=averaging_of(spec.command, work_directory),
        settings=mpi_settings.settings_for(spec.command, mpi_settings.LOCAL),
        script=script,
    )


def of_cluster(
    cluster: str, spec: JobSpec, nodes_up: int, script: str, work_directory: Path
) -> Explanation:
    """Explain a job that would be given to Slurm, on a cluster with so many nodes at work."""
    wanted = spec.resources
    nodes = None if wanted.ranks else wanted.nodes or str(max(1, nodes_up))
    each = (wanted.ranks_per_node or 1) if nodes else None
    return Explanation(
        cluster=cluster,
        name=spec.name,
        command=spec.command,
        ranks=int(nodes) * each if nodes and each and nodes.isdecimal() else wanted.ranks,
        nodes=nodes,
        ranks_per_node=each,
        threads_per_rank=wanted.threads_per_rank,
        averaging=averaging_of(spec.command, work_directory),
        settings=mpi_settings.settings_for(spec.command, mpi_settings.CLUSTER),
        script=script,
    )


def averaging_of(command: Sequence[str], work_directory: Path) -> str:
    """Say how a job's gradients are averaged, as far as its script says so in plain words.

    The script is read, not run: what it computes is not known here.
    """
    name = next((word for word in command if word.endswith(".py")), None)
    if name is None:
        return "up to the command"
    try:
        tree = ast.parse((work_directory / name).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return f"up to {name}, which cannot be read"
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and _called(call) == "Run":
            given = next((word.value for word in call.keywords if word.arg == "averaging"), None)
            if given is None:
                return f"{DEFAULT_AVERAGING}, since {name} names no other"
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                return f"{given.value}, by {name}, line {given.lineno}"
            return f"{ast.unparse(given)}, by {name}, line {given.lineno}"
    return f"up to {name}, which opens no train.Run itself"


def _called(call: ast.Call) -> str:
    """Return the last word of what is called: ``Run`` of ``train.Run(...)``."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""

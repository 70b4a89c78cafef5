"""Choose which nodes a new job is kept away from, so that enough are left for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beowulf.job.trust import Trust, read_trusts
from beowulf.runner import fields

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from beowulf.runner.spec import JobSpec, Resources


def choose(spec: JobSpec, told: Mapping[str, Any]) -> tuple[tuple[Trust, ...], int]:
    """Return the nodes to leave out of a job, and how many are up without them.

    ``told`` is what the head says: ``left_out``, the nodes that lost jobs lately, and ``nodes``,
    Slurm's own, each with its cores and whether it is up. Where too few would be left, those
    whose time is over first are used.
    """
    nodes_up = int(told["nodes_up"])
    cores = {str(name): int(count) for name, count, _ in told.get("nodes", ())}
    up = {str(name) for name, _, is_up in told.get("nodes", ()) if is_up}
    wanted = read_trusts(told.get("left_out")) if spec.retry.leave_out else ()
    left_out = sorted(
        (trust for trust in wanted if trust.node in cores),
        key=lambda trust: (str(trust.left_out_until), trust.node),
        reverse=True,
    )
    while left_out and not _is_enough(spec.resources, _without(up, left_out), cores):
        left_out.pop()
    return tuple(left_out), nodes_up - len(up) + len(_without(up, left_out))


def _without(up: Collection[str], left_out: Collection[Trust]) -> set[str]:
    return set(up) - {trust.node for trust in left_out}


def _is_enough(wanted: Resources, nodes: Collection[str], cores: Mapping[str, int]) -> bool:
    """Say whether these nodes do for a job."""
    if wanted.ranks:
        needed = wanted.ranks * (wanted.threads_per_rank or 1)
        return sum(cores[name] for name in nodes) >= needed
    fewest, _ = fields.node_range("resources.nodes", wanted.nodes or "1")
    return len(nodes) >= fewest

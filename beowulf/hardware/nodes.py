"""Each node's state, and what runs there, in one round trip."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from beowulf.errors import CommandFailed, one_line
from beowulf.job.slurm_nodes import NodeState, expand_names, parse_nodes
from beowulf.job.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from beowulf.transport.connection import Connection

MARK = "@@jobs"
JOB_FORMAT = "%A|%u|%T|%S|%N|%j"
# Times in UTC, so that the laptop may be in another zone than the cluster.
SCRIPT = f"""\
export TZ=UTC LC_ALL=C
scontrol show nodes --oneliner || exit
echo {MARK}
squeue --all --noheader --states=RUNNING,COMPLETING,CONFIGURING,SUSPENDED --format='{JOB_FORMAT}'
"""
COMMAND = ("sh", "-c", SCRIPT)
TIMEOUT_S = 60


@dataclass(frozen=True)
class NodeJob:
    """A job that has cores on a node. ``number`` is Slurm's."""

    number: str
    user: str
    name: str
    state: str
    started_at: str | None


@dataclass(frozen=True)
class NodeReport:
    """One node, with the jobs that it works for, and how far it can be trusted if that is known."""

    node: NodeState
    jobs: tuple[NodeJob, ...]
    trust: Trust | None = None

    @property
    def since(self) -> str | None:
        """Return since when it is in its state; a busy one, since its oldest job's start."""
        starts = [job.started_at for job in self.jobs if job.started_at]
        return self.node.since or min(starts, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the node as it stands in the listing's JSON."""
        jobs = [asdict(job) for job in self.jobs]
        trust = self.trust.to_json() if self.trust else None
        return {
            **asdict(self.node), "is_up": self.node.is_up, "since": self.since, "jobs": jobs,
            "trust": trust,
        }  # fmt: skip


def ask_nodes(connection: Connection) -> list[NodeReport]:
    """Return how every node of the cluster is, in Slurm's order.

    Raises:
        CommandFailed: Slurm does not answer on the head, or is not there.
        Unreachable, AccessDenied: There is no way to the head.
    """
    done = connection.run(COMMAND, timeout_s=TIMEOUT_S, check=False)
    if done.status:
        raise CommandFailed(f"{connection.name}: {slurm_trouble(done.errors, done.status)}")
    reports = parse_reports(done.output)
    if not reports:
        raise CommandFailed(f"{connection.name}: Slurm has no nodes; look with: beowulf check")
    return reports


def with_trust(reports: Sequence[NodeReport], trusts: Mapping[str, Trust]) -> list[NodeReport]:
    """Return the nodes with the trust in each: a full one where nothing is known against it."""
    names = [report.node.name for report in reports]
    found = [trusts.get(name, Trust(name)) for name in names]
    return [replace(report, trust=trust) for report, trust in zip(reports, found, strict=True)]


def parse_reports(told: str) -> list[NodeReport]:
    """Return the nodes and their jobs in what the script printed; other lines are passed over."""
    nodes, _, jobs = told.partition(f"{MARK}\n")
    by_node: dict[str, list[NodeJob]] = {}
    for names, job in _jobs(jobs):
        for name in expand_names(names):
            by_node.setdefault(name, []).append(job)
    return [NodeReport(node, tuple(by_node.get(node.name, ()))) for node in parse_nodes(nodes)]


def _jobs(told: str) -> Iterator[tuple[str, NodeJob]]:
    for line in told.splitlines():
        fields = line.split("|", 5)
        if len(fields) == 6 and fields[0].isdecimal():
            number, user, state, start, names, name = map(one_line, fields)
            yield names, NodeJob(number, user, name, state, _utc(start))


def _utc(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat(timespec="seconds")
    except ValueError:
        return None


def slurm_trouble(errors: str, status: int) -> str:
    """Return why Slurm's commands failed, and what to do, from what they complained of."""
    said = errors.strip().splitlines()
    last = one_line(said[-1])[-200:] if said else f"exit status {status}"
    if "not found" in last or status == 127:
        return "Slurm is not installed there; is this a beowulf cluster's head?"
    if "Unable to contact" in last or "Socket timed out" in last:
        return "Slurm's controller does not answer; there, look at: systemctl status slurmctld"
    return f"Slurm does not answer: {last}; look with: beowulf check"

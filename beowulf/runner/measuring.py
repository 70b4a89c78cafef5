"""Measure nodes and wires by a job like any other, and keep what it found."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.durable import write_json
from beowulf.errors import CommandFailed
from beowulf.job.directory import JobDirectory
from beowulf.job.measured import Measured, newest_of, read_measured
from beowulf.runner.local import jobs_root
from beowulf.runner.spec import spec_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.job.follow import News
    from beowulf.job.record import JobRecord
    from beowulf.runner.backend import Backend
    from beowulf.runner.spec import JobSpec

NAME = "bench"
COMMAND = ["python", "-m", "beowulf.measure"]
TIME_LIMIT = "15m"
NEITHER = ("code", "checkpoints", "heartbeat")


def measuring_job(most_nodes: int) -> JobSpec:
    """Return the job that measures as many nodes as are free, up to ``most_nodes``."""
    nodes = "1" if most_nodes == 1 else f"1-{most_nodes}"
    return spec_from(
        {
            "name": NAME,
            "command": COMMAND,
            "resources": {"nodes": nodes, "time_limit": TIME_LIMIT},
            "retry": {"leave_out": False},  # a node that lost jobs is measured as well
        }
    )


def measure(
    backend: Backend, most_nodes: int, tell: Callable[[News], None]
) -> tuple[Measured, JobRecord]:
    """Submit the job, tell of it until it is over, keep what it found, and return that.

    The job is cancelled if this process is interrupted: nobody else waits for it.

    Raises:
        CommandFailed: The job did not complete, or left nothing that can be read.
    """
    with tempfile.TemporaryDirectory(prefix="beowulf-bench-") as empty:
        job_id = backend.submit(measuring_job(most_nodes), Path(empty)).id
    try:
        for news in backend.follow(job_id, 0):
            tell(news)
    except KeyboardInterrupt:
        backend.cancel([job_id])
        raise
    record = backend.record(job_id)
    if record.state != "COMPLETED":
        why = record.reason or "it does not say why"
        raise CommandFailed(
            f"job {job_id} ({NAME}) is {record.state}: {why}; look with: beowulf logs {job_id}, "
            "and whether beowulf is as new there as here with: beowulf check"
        )
    found = _fetch(backend, job_id)
    write_kept(backend.cluster, found)
    return found, record


def _fetch(backend: Backend, job_id: str) -> Measured:
    with tempfile.TemporaryDirectory(prefix="beowulf-bench-") as target:
        backend.fetch(job_id, Path(target), NEITHER)
        found = read_measured(JobDirectory(Path(target)).measured)
    if found is None:
        raise CommandFailed(
            f"job {job_id} ({NAME}) left no measurements; look with: beowulf logs {job_id}"
        )
    return found


def kept_at(cluster: str | None) -> Path:
    """Return where this computer keeps what was measured last of a cluster; None is itself."""
    jobs = jobs_root()
    return newest_of(jobs if cluster is None else jobs.parent / "clusters" / cluster / "jobs")


def read_kept(cluster: str | None) -> Measured | None:
    """Return what was measured last, or None if nothing was, from here."""
    return read_measured(kept_at(cluster))


def write_kept(cluster: str | None, measured: Measured) -> None:
    """Keep what was measured of a cluster, in the place of what was before."""
    path = kept_at(cluster)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(path, measured.to_json())

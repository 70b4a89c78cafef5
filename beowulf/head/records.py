"""What can be said of a job on a cluster: its directory's word first, then Slurm's."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import BeowulfError
from beowulf.head import queue
from beowulf.head.endings import Gone, settle
from beowulf.head.given import number_of, remember
from beowulf.job.lock import is_locked
from beowulf.job.record import JobRecord, read_exit_code, read_record
from beowulf.job.root import JobRoot
from beowulf.job.slurm_nodes import COMMAND, NodeState, parse_nodes
from beowulf.job.slurm_words import waiting_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beowulf.head.queue import Queued
    from beowulf.job.directory import JobDirectory

NEVER_GIVEN = "it was never given to Slurm; {remedy}"
SILENT = "{said}; the job is not lost"
# Of a job that was running, and that Slurm has put back into its queue.
SOON = "its first node was lost, and Slurm starts it again in a moment"
AGAIN = "its first node was lost, and it is to be started again: {waits}"


def job_root() -> JobRoot:
    """Return where this user's jobs live on a cluster: ``~/beowulf/jobs``."""
    return JobRoot(Path.home() / "beowulf" / "jobs", "ask who looks after the cluster")


@dataclass
class Slurm:
    """Slurm's word on this user's jobs, asked for once, and only if it is needed."""

    silent: str = ""
    _queue: dict[int, Queued] | None = field(default=None, repr=False)
    _nodes: list[NodeState] | None = field(default=None, repr=False)

    def job(self, number: int) -> Queued | None:
        """Return what Slurm knows of one job; None where it knows nothing or does not answer."""
        return self.jobs().get(number)

    def jobs(self) -> dict[int, Queued]:
        """Return what Slurm knows of all jobs; nothing where it does not answer."""
        if self._queue is None:
            try:
                self._queue = queue.ask()
            except BeowulfError as error:
                self.silent = str(error)
                self._queue = {}
        return self._queue

    def nodes(self) -> list[NodeState]:
        """Return how the cluster's nodes are; none where Slurm does not answer."""
        if self._nodes is None:
            self._nodes = []
            with contextlib.suppress(BeowulfError):
                self._nodes = parse_nodes(queue.slurm(*COMMAND), zone=None)
        return self._nodes


def record_of(directory: JobDirectory, slurm: Slurm, *, held: bool = False) -> JobRecord:
    """Return a job's record. Slurm is asked only about a job that has not written its end.

    ``held`` says that the job's lock is this process's own, and so says nothing of the job.
    """
    return records_of([directory], slurm, held=held)[0]


def records_of(
    directories: Iterable[JobDirectory], slurm: Slurm | None = None, *, held: bool = False
) -> list[JobRecord]:
    """Return many jobs' records, asking Slurm once at most."""
    slurm = slurm or Slurm()
    found = [_look(directory, slurm, held=held) for directory in directories]
    settled = iter(settle([one for one in found if isinstance(one, Gone)]))
    return [next(settled) if isinstance(one, Gone) else one for one in found]


def _look(directory: JobDirectory, slurm: Slurm, *, held: bool) -> JobRecord | Gone:
    if read_exit_code(directory) is not None:
        return read_record(directory, responsible=False)
    record = read_record(directory, responsible=True)
    being_given = record.slurm_job_id is None and not held and is_locked(directory)
    if being_given or record.is_over:  # over since the look before
        return record
    jobs = slurm.jobs()
    if slurm.silent:
        return replace(record, state="UNKNOWN", reason=SILENT.format(said=slurm.silent))
    number = number_of(directory, record, jobs)
    if number is None:
        return _never_given(directory)
    if number != record.slurm_job_id:
        remember(directory, number)
        record = replace(record, slurm_job_id=number)
    told = jobs.get(number)
    if told is None or not told.is_of(directory.job_id):
        return Gone(directory, number, None)
    return Gone(directory, number, told) if told.is_over else _under_way(record, told, slurm)


def _under_way(record: JobRecord, told: Queued, slurm: Slurm) -> JobRecord:
    if not told.is_pending:
        return record
    if record.state != "QUEUED" and told.reason.strip("()") == "BeginTime":
        return replace(record, state="RECOVERING", reason=SOON)
    waits = waiting_in_words(told.reason, told.node_count, slurm.nodes())
    if record.state == "QUEUED":
        return replace(record, reason=waits)
    return replace(record, state="RECOVERING", reason=AGAIN.format(waits=waits))


def _never_given(directory: JobDirectory) -> JobRecord:
    """A job that is neither Slurm's nor being given to it."""
    record = read_record(directory, responsible=False)
    if record.state != "FAILED" or record.ended_at is not None:
        return record
    again = f"beowulf submit --resume {record.id}" if record.can_resume else "submit it again"
    return replace(record, reason=NEVER_GIVEN.format(remedy=again))

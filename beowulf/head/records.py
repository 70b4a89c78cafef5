"""What can be said of a job on a cluster: its directory's word first, then Slurm's."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.durable import write_file
from beowulf.errors import BeowulfError
from beowulf.head import queue
from beowulf.job.events import record_event
from beowulf.job.record import JobRecord, read_exit_code, read_record, read_slurm_job_id
from beowulf.job.root import JobRoot
from beowulf.job.slurm_nodes import COMMAND, NodeState, parse_nodes
from beowulf.job.slurm_words import ended_in_words, waiting_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beowulf.head.queue import Queued
    from beowulf.job.directory import JobDirectory

NEVER_GIVEN = "it was never given to Slurm; submit it again"
FORGOTTEN = "Slurm does not know it any more, and it left no word of how it ended"
SILENT = "{said}; the job is not lost"
# Slurm's word that a job is over may come before the supervisor's, over NFS.
LAST_WORDS_S = 3.0
POLL_S = 0.1


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


def record_of(directory: JobDirectory, slurm: Slurm) -> JobRecord:
    """Return a job's record. Slurm is asked only about a job that has not written its end."""
    if read_exit_code(directory) is not None:
        return read_record(directory, responsible=False)
    number = read_slurm_job_id(directory)
    if number is None:
        return _never_given(directory)
    told = slurm.job(number)
    if slurm.silent:
        record = read_record(directory, responsible=True)
        return record if record.is_over else _unknown(record, SILENT.format(said=slurm.silent))
    if told is None or told.is_over:
        return _over(directory, told)
    record = read_record(directory, responsible=True)
    if record.state == "QUEUED" and told.is_pending:
        waits = waiting_in_words(told.reason, told.node_count, slurm.nodes())
        return replace(record, reason=waits)
    return record


def records_of(directories: Iterable[JobDirectory]) -> list[JobRecord]:
    """Return many jobs' records, asking Slurm once at most."""
    slurm = Slurm()
    return [record_of(directory, slurm) for directory in directories]


def write_end(directory: JobDirectory, state: str, reason: str, exit_code: int) -> None:
    """Write down the end of a job that could not do so itself, as its supervisor would."""
    record_event(directory, "ended", state=state, reason=reason, exit_code=exit_code)
    write_file(directory.exit_code, f"{exit_code}\n".encode())


def _never_given(directory: JobDirectory) -> JobRecord:
    """A job without Slurm's number: it is being submitted now, or nobody will."""
    record = read_record(directory)  # its lock is held as long as it is being submitted
    if record.state == "FAILED" and not directory.done.exists():
        return replace(record, reason=NEVER_GIVEN)
    return record


def _over(directory: JobDirectory, told: Queued | None) -> JobRecord:
    """A job that Slurm has done with, or forgotten, and that has not said how it ended."""
    deadline = time.monotonic() + LAST_WORDS_S
    while read_exit_code(directory) is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if read_exit_code(directory) is None:
        if told is None:
            return _unknown(read_record(directory, responsible=True), FORGOTTEN)
        state, reason, exit_code = ended_in_words(told.state, told.nodes)
        if directory.done.exists():
            state, reason, exit_code = "COMPLETED", "", 0
        with contextlib.suppress(OSError):  # a full disk: it is asked again the next time
            write_end(directory, state, reason, exit_code)
    return read_record(directory, responsible=False)


def _unknown(record: JobRecord, reason: str) -> JobRecord:
    return replace(record, state="UNKNOWN", reason=reason)

"""Tell a client how jobs go on, as it happens, for as long as it listens."""

from __future__ import annotations

import select
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from beowulf.head.records import Slurm, job_root, record_of
from beowulf.job.follow import MOST_BYTES, LogReader
from beowulf.job.record import JobRecord, read_exit_code, read_record, read_slurm_job_id

if TYPE_CHECKING:
    from beowulf.head.frames import Peer
    from beowulf.job.directory import JobDirectory

LOG_POLL_S = 0.25
RECORD_EVERY_S = 1.0
SIGN_OF_LIFE_S = 5.0
# How long Slurm is left alone: it is asked seldom once a job has waited long.
LEAST_PAUSE_S = 2.0
MOST_PAUSE_S = 15.0


class Watched:
    """One job, of which Slurm is asked less and less often as long as nothing changes."""

    def __init__(self, directory: JobDirectory) -> None:
        self.directory = directory
        self._pause_s = LEAST_PAUSE_S
        self._asked_at = -MOST_PAUSE_S
        self._latest: JobRecord | None = None

    def record(self) -> JobRecord:
        """Return how the job is: from its files each time, from Slurm now and then."""
        due = time.monotonic() >= self._asked_at + self._pause_s
        if self._latest is not None and not due and read_exit_code(self.directory) is None:
            return self._from_files(self._latest)
        before = self._latest
        self._latest = record_of(self.directory, Slurm())
        self._asked_at = time.monotonic()
        same = before is not None and (before.state, before.reason) == (
            self._latest.state, self._latest.reason,
        )  # fmt: skip
        self._pause_s = min(self._pause_s * 1.5, MOST_PAUSE_S) if same else LEAST_PAUSE_S
        return self._latest

    def _from_files(self, latest: JobRecord) -> JobRecord:
        """Return what the job's own files say, with what Slurm said last of its waiting."""
        if read_slurm_job_id(self.directory) is None or latest.state == "UNKNOWN":
            return latest
        record = read_record(self.directory, responsible=True)
        return replace(record, reason=latest.reason) if record.state == latest.state else record


def follow(peer: Peer, document: dict[str, Any]) -> None:
    """Tell what a job prints from a byte offset on, and how it is, until it is over."""
    directory = job_root().find(str(document["id"]))
    watched = Watched(directory)
    log = LogReader(directory.log, int(document["offset"]))
    record, record_at, told_at = watched.record(), time.monotonic(), 0.0
    told: JobRecord | None = None
    while client_listens(LOG_POLL_S if told is not None else 0):
        now = time.monotonic()
        if now > record_at + RECORD_EVERY_S:
            record, record_at = watched.record(), now
        new = log.read(MOST_BYTES)
        if new or record != told or now > told_at + SIGN_OF_LIFE_S:
            changes = {"job": record.to_json()} if record != told else {}
            peer.tell(new, offset=log.offset, **changes)
            told, told_at = record, now
        if record.is_over and not new:
            peer.tell(over=True)
            return


def wait(peer: Peer, document: dict[str, Any]) -> None:
    """Tell each job's record once it is over, with signs of life meanwhile."""
    directories = [job_root().find(str(job_id)) for job_id in document["ids"]]
    waiting = {directory.job_id: Watched(directory) for directory in directories}
    told_at = 0.0
    while waiting:
        for job_id, watched in list(waiting.items()):
            record = watched.record()
            if record.is_over:
                peer.tell(job=record.to_json())
                del waiting[job_id]
            elif time.monotonic() > told_at + SIGN_OF_LIFE_S:
                peer.tell(waiting=record.to_json())
        if time.monotonic() > told_at + SIGN_OF_LIFE_S:
            told_at = time.monotonic()
        if waiting and not client_listens(LOG_POLL_S):
            return
    peer.tell(over=True)


def client_listens(pause_s: float) -> bool:
    """Wait ``pause_s`` seconds, and say whether the client still listens.

    It says nothing while it does: what can be read from it is its end.
    """
    try:
        readable, _, _ = select.select([sys.stdin], [], [], pause_s)
    except (OSError, ValueError):
        return False
    return not readable

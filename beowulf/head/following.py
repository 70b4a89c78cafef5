"""Tell a client how jobs go on, as it happens, for as long as it listens."""

from __future__ import annotations

import select
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from beowulf.head.records import job_root, records_of
from beowulf.job.follow import MOST_BYTES, LogReader
from beowulf.job.record import JobRecord, read_exit_code, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beowulf.head.frames import Peer
    from beowulf.job.directory import JobDirectory

LOG_POLL_S = 0.25
RECORD_EVERY_S = 1.0
SIGN_OF_LIFE_S = 5.0
# How long Slurm is left alone: it is asked seldom once a job has waited long.
LEAST_PAUSE_S = 2.0
MOST_PAUSE_S = 15.0


class Watch:
    """Jobs of which Slurm is asked with one question, more and more seldom if nothing changes."""

    def __init__(self, directories: Iterable[JobDirectory]) -> None:
        self.directories = {directory.job_id: directory for directory in directories}
        self._pause_s = LEAST_PAUSE_S
        self._asked_at = -MOST_PAUSE_S
        self._latest: dict[str, JobRecord] = {}

    @property
    def has_news(self) -> bool:
        """Say whether a job may be over: one has written its end, or it is time to ask Slurm."""
        due = time.monotonic() >= self._asked_at + self._pause_s
        return due or any(
            read_exit_code(directory) is not None for directory in self.directories.values()
        )

    def leave(self, job_id: str) -> None:
        """Watch a job no more."""
        del self.directories[job_id]

    def records(self) -> dict[str, JobRecord]:
        """Return how the jobs are: from their files each time, from Slurm now and then."""
        if time.monotonic() >= self._asked_at + self._pause_s:
            self._ask()
        else:
            self._latest = {
                job_id: self._from_files(directory, self._latest[job_id])
                for job_id, directory in self.directories.items()
            }
        return self._latest

    def _ask(self) -> None:
        before = self._latest
        found = records_of(self.directories.values())
        self._latest = {record.id: record for record in found}
        self._asked_at = time.monotonic()
        same = all(
            record.id in before
            and (before[record.id].state, before[record.id].reason) == (record.state, record.reason)
            for record in found
        )
        self._pause_s = min(self._pause_s * 1.5, MOST_PAUSE_S) if same else LEAST_PAUSE_S

    def _from_files(self, directory: JobDirectory, latest: JobRecord) -> JobRecord:
        """Return what a job's own files say, with what Slurm said last of its waiting."""
        if read_exit_code(directory) is not None:
            return read_record(directory, responsible=False)
        if latest.slurm_job_id is None or latest.is_over or latest.state == "UNKNOWN":
            return latest
        record = read_record(directory, responsible=True)
        record = replace(record, slurm_job_id=latest.slurm_job_id)
        return replace(record, reason=latest.reason) if record.state == latest.state else record


def follow(peer: Peer, document: dict[str, Any]) -> None:
    """Tell what a job prints from a byte offset on, and how it is, until it is over."""
    directory = job_root().find(str(document["id"]))
    watch = Watch([directory])
    log = LogReader(directory.log, int(document["offset"]))
    record, record_at, told_at = watch.records()[directory.job_id], time.monotonic(), 0.0
    told: JobRecord | None = None
    while client_listens(LOG_POLL_S if told is not None else 0):
        now = time.monotonic()
        if now > record_at + RECORD_EVERY_S:
            record, record_at = watch.records()[directory.job_id], now
        new = log.read(MOST_BYTES)
        if new or record != told or now > told_at + SIGN_OF_LIFE_S:
            changes = {"job": record.to_json()} if record != told else {}
            peer.tell(new, offset=log.offset, **changes)
            told, told_at = record, now
        if record.is_over and not new:
            peer.tell(over=True)
            return


def wait(peer: Peer, document: dict[str, Any]) -> None:
    """Tell each job's record once it is over, with signs of life of one that is not meanwhile."""
    watch = Watch(job_root().find(str(job_id)) for job_id in document["ids"])
    told_at = -SIGN_OF_LIFE_S
    while watch.directories:
        time_for_a_sign = time.monotonic() >= told_at + SIGN_OF_LIFE_S
        if time_for_a_sign or watch.has_news:
            records = watch.records()
            for record in [one for one in records.values() if one.is_over]:
                peer.tell(job=record.to_json())
                watch.leave(record.id)
        if time_for_a_sign and watch.directories:
            peer.tell(waiting=records[next(iter(watch.directories))].to_json())
            told_at = time.monotonic()
        if watch.directories and not client_listens(LOG_POLL_S):
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

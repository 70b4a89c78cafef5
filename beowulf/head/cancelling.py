"""End jobs: by asking the supervisor, who can say so; through Slurm where that does not do."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from beowulf.errors import BeowulfError, JobNotFound
from beowulf.head import queue
from beowulf.head.endings import CANCELLED, write_end
from beowulf.head.given import named_in, read_claim
from beowulf.head.records import Slurm, job_root, records_of
from beowulf.job.record import read_exit_code, read_record, read_slurm_job_id

if TYPE_CHECKING:
    from beowulf.head.frames import Peer
    from beowulf.head.queue import Queued
    from beowulf.job.directory import JobDirectory

ASK_S = 15.0  # for a supervisor to see the request over NFS, end its ranks and write the end
SLURM_S = 60.0  # Slurm asks first and kills 30 s later (KillWait)
POLL_S = 0.2
SLURM_EVERY_S = 3.0
SIGN_OF_LIFE_S = 5.0
MOST_NAMED = 5


def cancel(peer: Peer, document: dict[str, Any]) -> None:
    """End jobs and tell their records once they are over, with signs of life meanwhile."""
    root = job_root()
    try:
        directories = [root.find(str(job_id)) for job_id in document["ids"]]
    except JobNotFound as error:
        raise JobNotFound(f"{error}; nothing was cancelled") from None
    slurm = Slurm()
    left = _not_over(directories, slurm)
    # All are asked before one is waited for. Who can't be asked, on a full disk, is Slurm's to end.
    deaf = [directory for directory in left if not _ask(directory)]
    left = _out_of_the_queue(left, deaf, slurm)
    left = _see_end(peer, left, ASK_S)
    if left:
        left = _end_through_slurm(peer, left)
    if left:
        raise BeowulfError(_still_there(left))
    peer.tell(jobs=[record.to_json() for record in records_of(directories)])


def _ask(directory: JobDirectory) -> bool:
    try:
        directory.cancel_request.touch()
    except OSError:
        return False
    return True


def _out_of_the_queue(
    left: list[JobDirectory], deaf: list[JobDirectory], slurm: Slurm
) -> list[JobDirectory]:
    """Take out of the queue what has not started, and return the jobs that are left."""
    waiting = {
        one.path: [told for told in _of_slurm(one, slurm) if told.is_pending or one in deaf]
        for one in left
    }
    numbers = [told.number for found in waiting.values() for told in found]
    if not numbers:
        return left
    queue.cancel(numbers)
    now = Slurm()
    still = []
    for directory in left:
        if not waiting[directory.path] or now.silent or _of_slurm(directory, now):
            still.append(directory)
        else:  # it has not started meanwhile, so nobody else will say so
            _write_cancelled(directory)
    return still


def _see_end(peer: Peer, left: list[JobDirectory], timeout_s: float) -> list[JobDirectory]:
    """Wait for the jobs' ends, written by supervisors or known to Slurm; return who is left."""
    deadline = time.monotonic() + timeout_s
    asked_at = told_at = time.monotonic()
    while left := [one for one in left if read_exit_code(one) is None]:
        now = time.monotonic()
        if now > deadline:
            break
        if now > asked_at + SLURM_EVERY_S:
            left = _not_over(left, Slurm())
            asked_at = time.monotonic()
        if now > told_at + SIGN_OF_LIFE_S:
            peer.tell(waiting=[directory.job_id for directory in left])
            told_at = now
        time.sleep(POLL_S)
    return left


def _end_through_slurm(peer: Peer, left: list[JobDirectory]) -> list[JobDirectory]:
    slurm = Slurm()
    left = _not_over(left, slurm)
    if slurm.silent:
        raise BeowulfError(
            f"{slurm.silent}; {_names(left)}: asked to end, but nobody has seen it; "
            f"look again later: beowulf jobs"
        )
    theirs = {one.path: _of_slurm(one, slurm) for one in left}
    queue.cancel(told.number for found in theirs.values() for told in found)
    for directory in left:
        if not theirs[directory.path]:  # Slurm has no such job, and no supervisor spoke
            _write_cancelled(directory)
    left = _see_end(peer, [one for one in left if theirs[one.path]], SLURM_S)
    return _not_over(left, Slurm())


def _of_slurm(directory: JobDirectory, slurm: Slurm) -> list[Queued]:
    """Return which of Slurm's jobs, running or waiting, are of this directory: one, as a rule."""
    jobs = slurm.jobs()
    attempt = read_record(directory, responsible=True).attempt
    found = {one.number: one for one in named_in(directory, jobs)}
    for number in (read_claim(directory, attempt), read_slurm_job_id(directory)):
        told = jobs.get(number) if number is not None else None
        if told is not None and told.is_of(directory.job_id):
            found[told.number] = told
    return [one for one in found.values() if not one.is_over]


def _not_over(directories: list[JobDirectory], slurm: Slurm) -> list[JobDirectory]:
    records = records_of(directories, slurm)
    return [one for one, record in zip(directories, records, strict=True) if not record.is_over]


def _write_cancelled(directory: JobDirectory) -> None:
    with contextlib.suppress(OSError):  # Slurm knows it as well
        write_end(directory, *CANCELLED)


def _still_there(left: list[JobDirectory]) -> str:
    number = read_slurm_job_id(left[0])
    return (
        f"{_names(left)}: still there {SLURM_S:.0f} s after scancel {number}; "
        f"look at: scontrol show job {number}"
    )


def _names(left: list[JobDirectory]) -> str:
    more = f" and {len(left) - MOST_NAMED} more" * (len(left) > MOST_NAMED)
    names = ", ".join(one.job_id for one in left[:MOST_NAMED])
    return f"job{'s' * (len(left) > 1)} {names}{more}"

"""End jobs: by asking the supervisor, who can say so; through Slurm where that does not do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from beowulf.errors import BeowulfError, JobNotFound
from beowulf.head import queue
from beowulf.head.records import Slurm, job_root, record_of, write_end
from beowulf.job.record import read_exit_code, read_slurm_job_id

if TYPE_CHECKING:
    from beowulf.head.frames import Peer
    from beowulf.job.directory import JobDirectory
    from beowulf.job.record import JobRecord

ASK_S = 15.0  # for a supervisor to see the request over NFS, end its ranks and write the end
SLURM_S = 60.0  # Slurm asks first and kills 30 s later (KillWait)
POLL_S = 0.2
CANCELLED = ("CANCELLED", "cancelled by its owner", 143)


def cancel(peer: Peer, document: dict[str, Any]) -> None:
    """End jobs and tell their records once they are over."""
    root = job_root()
    try:
        directories = [root.find(str(job_id)) for job_id in document["ids"]]
    except JobNotFound as error:
        raise JobNotFound(f"{error}; nothing was cancelled") from None
    slurm = Slurm()
    under_way = [one for one in directories if not record_of(one, slurm).is_over]
    for directory in under_way:  # all are asked before one is waited for
        directory.cancel_request.touch()
        _scancel_if_pending(directory, slurm)
    for directory in under_way:
        _see_it_end(directory)
    peer.tell(jobs=[record_of(directory, Slurm()).to_json() for directory in directories])


def _scancel_if_pending(directory: JobDirectory, slurm: Slurm) -> None:
    number = read_slurm_job_id(directory)
    told = slurm.job(number) if number is not None else None
    if number is None or told is None or not told.is_pending:
        return
    queue.cancel(number)
    now = queue.ask().get(number)
    if now is None or now.is_over:  # it has not started meanwhile, so nobody else will say so
        write_end(directory, *CANCELLED)


def _see_it_end(directory: JobDirectory) -> None:
    if _ended(directory, ASK_S):
        return
    number = read_slurm_job_id(directory)
    if number is None:
        write_end(directory, *CANCELLED)
        return
    queue.cancel(number)
    if _ended(directory, SLURM_S) or _record(directory).is_over:
        return
    raise BeowulfError(
        f"job {directory.job_id}: still there {SLURM_S:.0f} s after scancel {number}; "
        f"look at: scontrol show job {number}"
    )


def _ended(directory: JobDirectory, timeout_s: float) -> bool:
    """Wait for the job's end, written by its supervisor or known to Slurm."""
    deadline = time.monotonic() + timeout_s
    asked_at = time.monotonic()
    while read_exit_code(directory) is None:
        if time.monotonic() > deadline:
            return False
        if time.monotonic() > asked_at + 3:
            if _record(directory).is_over:
                return True
            asked_at = time.monotonic()
        time.sleep(POLL_S)
    return True


def _record(directory: JobDirectory) -> JobRecord:
    return record_of(directory, Slurm())

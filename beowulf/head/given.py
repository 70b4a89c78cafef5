"""Which of Slurm's jobs is a job of ours: its claim says so, or its number, or the comment."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from beowulf.durable import write_file
from beowulf.job.events import read_events
from beowulf.job.record import read_slurm_job_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beowulf.head.queue import Queued
    from beowulf.job.directory import JobDirectory
    from beowulf.job.record import JobRecord


def number_of(directory: JobDirectory, record: JobRecord, jobs: Mapping[int, Queued]) -> int | None:
    """Return Slurm's number of a job as it is recorded, or None if Slurm never got it.

    ``jobs`` is Slurm's queue. One directory may have been given to Slurm twice: what runs it is
    the one that has the claim; before there is a claim, one that may still run. A job whose
    number could not be written down is known by its comment.
    """
    claimed = read_claim(directory, record.attempt)
    if claimed is not None:
        return claimed
    number = record.slurm_job_id
    told = jobs.get(number) if number is not None else None
    if told is not None and told.is_of(directory.job_id) and not told.is_over:
        return number
    named = named_in(directory, jobs)
    alive = [one.number for one in named if not one.is_over]
    if alive or number is None:
        return max(alive or [one.number for one in named], default=None)
    return number


def named_in(directory: JobDirectory, jobs: Mapping[int, Queued]) -> list[Queued]:
    """Return Slurm's jobs that were given to it for the newest attempt of this job."""
    key = str((_submissions(directory) or [{}])[-1].get("key", ""))
    return [one for one in jobs.values() if one.is_of(directory.job_id, key)]


def read_claim(directory: JobDirectory, attempt: int) -> int | None:
    """Return the number of the Slurm job that runs an attempt, or None before it has begun."""
    try:
        return int(directory.claim(attempt).read_text())
    except (OSError, ValueError):
        return None


def remember(directory: JobDirectory, number: int) -> None:
    """Write down Slurm's number where that can be done; it is found again where it can't."""
    if read_slurm_job_id(directory) != number:
        with contextlib.suppress(OSError):
            write_file(directory.slurm_job_id, f"{number}\n".encode())


def keys_of(directory: JobDirectory) -> list[str]:
    """Return the keys of the requests that started this job, one per attempt, newest last."""
    return [str(event.get("key", "")) for event in _submissions(directory)]


def _submissions(directory: JobDirectory) -> list[dict[str, Any]]:
    return [
        event
        for event in read_events(directory)
        if event.get("event") in ("submitted", "resubmitted")
    ]

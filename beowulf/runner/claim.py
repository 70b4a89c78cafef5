"""Who runs an attempt of a job: the Slurm job whose number is in the attempt's claim.

A lock would not do: the job directory is on NFS, and the first host of a job may be switched off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.durable import write_once

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory


def claim(directory: JobDirectory, attempt: int, slurm_job_id: int) -> int:
    """Claim an attempt for a Slurm job, and return the number of the one that has it.

    Raises:
        OSError: The job directory is gone, or cannot be written.
        ValueError: The claim that is there is damaged.
    """
    claim_anew(directory, attempt, slurm_job_id)
    return int(directory.claim(attempt).read_text())


def claim_anew(directory: JobDirectory, attempt: int, slurm_job_id: int) -> bool:
    """Claim an attempt that nobody has; False if somebody has, be it the same Slurm job.

    Raises:
        OSError: The job directory is gone, or cannot be written.
    """
    return write_once(directory.claim(attempt), f"{slurm_job_id}\n".encode())


def claim_next(
    directory: JobDirectory, submitted: int, slurm_job_id: int, restarts: int
) -> tuple[int, int]:
    """Claim the attempt that this start of a Slurm job is; return its number and the claim's owner.

    ``submitted`` is the attempt for which the job was given to Slurm, ``restarts`` how often Slurm
    has started it again since. Each start after a first one that got as far as its claim is an
    attempt of its own, with a number that nobody has used: whoever ran the job before may only
    have been frozen.
    """
    if restarts == 0 or claim_of(directory, submitted) != slurm_job_id:
        return submitted, claim(directory, submitted, slurm_job_id)
    number = submitted + 1
    while not claim_anew(directory, number, slurm_job_id):
        number += 1
    return number, slurm_job_id


def claim_of(directory: JobDirectory, attempt: int) -> int | None:
    """Return the number of the Slurm job that has an attempt, or None if nobody has.

    Raises:
        ValueError: The claim that is there is damaged.
    """
    try:
        return int(directory.claim(attempt).read_text())
    except FileNotFoundError:
        return None

"""Who runs an attempt of a job: the Slurm job whose number is in the attempt's claim.

A lock would not do: the job directory is on NFS, and the first host of a job may be switched off.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory


def claim(directory: JobDirectory, attempt: int, slurm_job_id: int) -> int:
    """Claim an attempt for a Slurm job, and return the number of the one that has it.

    A job that Slurm starts again has its number still, and so its claim.

    Raises:
        OSError: The job directory is gone, or cannot be written.
        ValueError: The claim that is there is damaged.
    """
    wanted = directory.claim(attempt)
    # A link appears whole, and for one writer only, also where two hosts try at the same moment.
    descriptor, temporary = tempfile.mkstemp(dir=directory.path, prefix=f".{wanted.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{slurm_job_id}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, wanted)
    finally:
        os.unlink(temporary)  # noqa: PTH108 - the temporary name is a string
    return int(wanted.read_text())

"""What a backend tells of a job, and where that job is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.job.directory import JobDirectory

if TYPE_CHECKING:
    from beowulf.job.record import JobRecord


def directory_of(record: JobRecord) -> JobDirectory:
    """Return the directory of a job that was just submitted."""
    return JobDirectory(Path(record.directory))

"""Find and end every process of a job, whoever its parent is by now."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import psutil

from beowulf.job.directory import DIRECTORY_VARIABLE

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory

POLL_S = 0.05


def find_processes(directory: JobDirectory) -> list[psutil.Process]:
    """Return the processes that carry this job's directory in their environment.

    All that a job starts inherits it, also what left its parent behind.
    """
    mine = os.getpid()
    marker = str(directory.path)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != mine and process.environ().get(DIRECTORY_VARIABLE) == marker:
                found.append(process)
    return found


def end_processes(directory: JobDirectory, grace_s: float) -> list[int]:
    """End what is left of a job: ask, wait ``grace_s`` seconds at most, then kill.

    Returns the IDs of the processes that could not be ended.
    """
    for process in find_processes(directory):
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        if not _alive(directory):
            return []
        time.sleep(POLL_S)
    deadline = time.monotonic() + grace_s + 1
    while left := _alive(directory):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if time.monotonic() > deadline:
            return [process.pid for process in left]
        time.sleep(POLL_S)
    return []


def _alive(directory: JobDirectory) -> list[psutil.Process]:
    """Return the job's processes that still run; the dead that nobody waited for don't count."""
    alive = []
    for process in find_processes(directory):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive

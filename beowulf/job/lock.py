"""Who is responsible for a job: whoever holds the lock in its directory.

The kernel lets go of a lock when its last holder dies, however it dies. So a job
without an ``exit_code`` whose lock is free has lost its supervisor, and nobody has
to guess from process numbers. ``submit`` takes the lock before the job can be seen
and hands the open file on to the supervisor: there is no moment without a holder.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory

LOOK_S = 0.001


def take_lock(directory: JobDirectory) -> int | None:
    """Lock a job and return the open file that holds the lock, or None if it is taken."""
    descriptor = os.open(directory.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try(descriptor, fcntl.LOCK_EX):
            if not _try(descriptor, fcntl.LOCK_SH):
                os.close(descriptor)
                return None
            # Only those who look whether it is locked are in the way, for a moment.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(LOOK_S)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(directory: JobDirectory) -> bool:
    """Say whether somebody is responsible for this job now."""
    try:
        descriptor = os.open(directory.lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)

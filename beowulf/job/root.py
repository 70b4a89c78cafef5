"""Where all jobs of one user live: their IDs, and directories that appear whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.durable import sync_directory, sync_file_system
from beowulf.errors import InvalidInput, JobNotFound, LaunchError, one_line
from beowulf.job.directory import JobDirectory
from beowulf.job.lock import is_locked, take_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STAGING_PREFIX = ".staging-"
JOB_ID = re.compile(r"[1-9][0-9]{0,8}")
MOST_CHARACTERS = 60


@dataclass(frozen=True)
class JobRoot:
    """The directory ``path`` that holds one directory per job.

    ``elsewhere`` tells in messages how a person can put it elsewhere.
    """

    path: Path
    elsewhere: str

    def find(self, job_id: str) -> JobDirectory:
        """Return the directory of a job.

        Raises:
            JobNotFound: No such job.
            InvalidInput: The directory cannot be read.
        """
        try:
            found = bool(JOB_ID.fullmatch(job_id)) and (self.path / job_id).is_dir()
        except OSError as error:
            raise self._unreadable(error) from None
        if not found and job_id not in self.ids():
            raise JobNotFound(f"no job {_shortened(job_id)}; beowulf jobs lists them")
        return JobDirectory(self.path / job_id)

    def newest(self) -> JobDirectory:
        """Return the directory of the job submitted last.

        Raises:
            JobNotFound: There is no job yet.
        """
        ids = self.ids()
        if not ids:
            raise JobNotFound("no jobs yet; start one with: beowulf submit train.py")
        return self.find(ids[-1])

    def ids(self) -> list[str]:
        """Return the IDs of all jobs, oldest first.

        Raises:
            InvalidInput: The directory cannot be read.
        """
        try:
            names = [entry.name for entry in self.path.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(error) from None
        return sorted((name for name in names if JOB_ID.fullmatch(name)), key=int)

    def _unreadable(self, error: OSError) -> InvalidInput:
        return InvalidInput(
            "job directory",
            f"cannot read {self.path} ({error.strerror})",
            f"check its permissions, or {self.elsewhere}",
        )

    def create(
        self,
        stage: Callable[[JobDirectory], None],
        name: Callable[[JobDirectory, str], None] | None = None,
    ) -> tuple[JobDirectory, int]:
        """Make a job directory that appears whole, under a new ID, locked by this process.

        ``stage`` fills it; ``name`` is told the ID right before anybody can see it.

        Raises:
            InvalidInput: It cannot be written; nothing is left behind.
        """
        with self.report_write_errors():
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep_staging()
            staging = JobDirectory(Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=self.path)))
            lock = take_lock(staging)
            if lock is None:
                raise LaunchError(f"{staging.lock} is locked by somebody else; try again")
            try:
                stage(staging)
                # A name outlives a power cut, and so must what it names: a script that is empty
                # afterwards would do nothing, and end well.
                sync_file_system(staging.path)
                return self._publish(staging, name), lock
            except BaseException:
                os.close(lock)
                shutil.rmtree(staging.path, ignore_errors=True)
                raise

    def _publish(
        self, staging: JobDirectory, name: Callable[[JobDirectory, str], None] | None
    ) -> JobDirectory:
        """Give a staged job the next ID. The root's lock keeps two submitters apart.

        The lock's file holds the last ID: that of a job which was deleted is not given again,
        since Slurm, or a person, may still mean the other one by it.
        """
        with (self.path / ".lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            written = lock.read(MOST_CHARACTERS)
            last = int(written) if JOB_ID.fullmatch(written) else 0
            number = max([last, *map(int, self.ids())]) + 1
            lock.truncate(0)
            lock.write(str(number))
            lock.flush()
            os.fsync(lock.fileno())
            if name is not None:
                name(staging, str(number))
            directory = JobDirectory(self.path / str(number))
            staging.path.rename(directory.path)
            sync_directory(self.path)
        return directory

    def _sweep_staging(self) -> None:
        """Remove what submits that were killed half-way left behind."""
        for path in self.path.glob(f"{STAGING_PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):  # published or removed meanwhile
                young = time.time() - path.stat().st_mtime < 60
                if not (young or is_locked(JobDirectory(path))):
                    shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def report_write_errors(self) -> Iterator[None]:
        """Turn a full disk or a forbidden directory into one line that says what to do."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "free some space" if full else "check its permissions"
            raise InvalidInput(
                "job directory",
                f"cannot write below {self.path} ({error.strerror or error})",
                f"{remedy}, or {self.elsewhere}",
            ) from error


def _shortened(word: str) -> str:
    return repr(one_line(word) if len(word) <= MOST_CHARACTERS else f"{word[:57]}...")

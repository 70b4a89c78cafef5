"""What every place that runs jobs offers: this computer, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from beowulf.errors import LaunchError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from beowulf.job.drill import Plug
    from beowulf.job.follow import News
    from beowulf.job.record import JobRecord
    from beowulf.job.recovery import Recovery
    from beowulf.runner.arrival import Arrival
    from beowulf.runner.explanation import Explanation
    from beowulf.runner.spec import JobSpec


@dataclass(frozen=True)
class Log:
    """Whose log was handed over, and up to which byte."""

    job_id: str
    offset: int


@dataclass(frozen=True)
class Place:
    """Where a rank of a running job is."""

    job_id: str
    host: str
    code: str
    slurm_job_id: int | None


class Backend(Protocol):
    """A place that runs this user's jobs. ``job_id`` None means the newest job."""

    cluster: str | None
    """The cluster's name; None on this computer."""

    def submit(self, spec: JobSpec, work_directory: Path, after: Sequence[str] = ()) -> JobRecord:
        """Accept a job, start it or queue it, and return how it is then.

        It starts once the jobs ``after`` have completed.

        Raises:
            InvalidInput: The job cannot run there; nothing was started, nothing is left.
        """

    def explain(self, spec: JobSpec, work_directory: Path) -> Explanation:
        """Return what ``submit`` would have run, and why, without keeping anything of it.

        Raises:
            InvalidInput: The job cannot run there.
        """

    def resume(self, job_id: str, **overrides: int | str | None) -> JobRecord:
        """Go on with a job that ended early, from its newest valid checkpoint.

        Raises:
            JobNotFound: No such job.
            InvalidInput: The job still runs, has completed, or the resources don't fit.
        """

    def record(self, job_id: str | None = None) -> JobRecord:
        """Return one job's record.

        Raises:
            JobNotFound: No such job, or none at all.
        """

    def examine(self, job_id: str | None = None) -> tuple[JobRecord, bytes]:
        """Return a job's record and, if it failed, the last of what it printed, a bounded piece.

        Raises:
            JobNotFound: No such job, or none at all.
        """

    def records(self, last: int | None = None) -> list[JobRecord]:
        """Return the records of all jobs, or of the ``last`` so many, oldest first."""

    def cancel(self, job_ids: Sequence[str]) -> list[JobRecord]:
        """End jobs and every process of theirs; those that are over stay as they are.

        Raises:
            JobNotFound: One of them does not exist; nothing was cancelled.
        """

    def log(self, job_id: str | None, tail: int | None, write: Callable[[bytes], object]) -> Log:
        """Hand over what a job has printed, or its last ``tail`` lines, piece by piece.

        Raises:
            JobNotFound: No such job, or none at all.
        """

    def follow(self, job_id: str, offset: int) -> Iterator[News]:
        """Yield how a job is and what it prints from byte ``offset`` on, until it is over.

        Something comes at least every few seconds, with nothing new in it perhaps.
        """

    def wait(self, job_ids: Sequence[str], timeout_s: float | None = None) -> list[JobRecord]:
        """Return the jobs' records once all are over.

        Raises:
            JobNotFound: One of them does not exist.
            LaunchError: ``timeout_s`` seconds have passed.
        """

    def fetch(self, job_id: str, target: Path, without: Sequence[str]) -> Arrival:
        """Write a job's files to ``target``, but for the directories ``without``.

        Raises:
            JobNotFound: No such job.
            OSError: The target cannot be written.
        """

    def place(self, job_id: str | None, rank: int) -> Place:
        """Return where a rank of a running job is.

        Raises:
            JobNotFound: No such job.
            InvalidInput: The job does not run, or has no such rank.
        """

    def shell(self, place: Place) -> int:
        """Open an interactive shell there, inside the job, and return its exit status."""

    def aim(self, job_id: str | None, what: str, rank: int | None, node: str | None) -> Plug:
        """Return the plug of a running job that is meant, for a drill, without touching it.

        Raises:
            JobNotFound: No such job.
            InvalidInput: The job does not run, has no such rank or node, or must not be hit there.
        """

    def drill(self, plug: Plug) -> Iterator[Recovery]:
        """Pull a plug on purpose, and yield how the job recovers until it trains again or is over.

        Raises:
            InvalidInput: The job has changed since; nothing was touched.
            BeowulfError: The ranks are gone already.
        """

    def carry(
        self, listener: socket.socket, place: Place, port: int, complain: Callable[[str], None]
    ) -> None:
        """Carry the listener's connections to a port there, until it is closed.

        Raises:
            InvalidInput: The port is on this computer anyway.
        """


def still_running(job_id: str, state: str) -> LaunchError:
    """Return the error of a ``wait`` that takes too long."""
    return LaunchError(f"job {job_id} is still {state}; wait longer or cancel it")

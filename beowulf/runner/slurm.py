"""The cluster's backend: jobs on Slurm, through the program on the head."""

from __future__ import annotations

import math
import secrets
import time
from typing import TYPE_CHECKING, Any

from beowulf.errors import BeowulfError, ConnectionLost, InvalidInput, Unreachable
from beowulf.head.frames import JOB_ID
from beowulf.job.drill import Plug
from beowulf.job.follow import News
from beowulf.job.record import JobRecord
from beowulf.job.recovery import Recovery
from beowulf.runner.arrival import Arrival
from beowulf.runner.backend import Log, Place, still_running
from beowulf.runner.batch_script import prepare, render_slurm
from beowulf.runner.command import argument_vector, refuse_missing_script
from beowulf.runner.head_program import Dialogue, HeadProgram
from beowulf.runner.leaving_out import choose
from beowulf.runner.manifest import Manifest, list_snapshot
from beowulf.runner.reconnecting import again_when_lost, for_as_long_as_it_takes
from beowulf.runner.relay import relay
from beowulf.runner.spec import JobSpec, format_spec, parse_spec

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from beowulf.head.frames import Frame
    from beowulf.runner.explanation import Explanation
    from beowulf.transport.connection import Connection

JOB_KEY = "@JOB_KEY@"  # stands in an explained script for what each submission has anew
SILENCE_S = 30.0  # the head gives a sign of life every 5 s while a client follows
FIRST_WORD_S = 15.0  # for its program to start, however short a wait was asked for


class SlurmBackend:
    """This user's jobs on one cluster."""

    def __init__(self, cluster: str, connection: Connection) -> None:
        self.cluster: str | None = cluster
        self._head = HeadProgram(connection)

    def submit(self, spec: JobSpec, work_directory: Path, after: Sequence[str] = ()) -> JobRecord:
        """Send what the head lacks of a job's files, and have it given to Slurm.

        When the connection is lost it is tried again; the job is never given twice.

        Raises:
            InvalidInput: The job cannot run there; nothing was started, nothing is left.
            Unreachable, AccessDenied: There is no way to the head.
            LaunchError: The job is kept on the head, but Slurm does not answer.
        """
        manifest = list_snapshot(work_directory, spec.files)
        refuse_missing_script(spec.command, manifest.holds)
        numbers = tuple(self._number_to_wait_for(job_id) for job_id in after)
        after_numbers = tuple(number for number in numbers if number is not None)
        key = secrets.token_hex(16)
        request: dict[str, Any] = {
            "key": key,
            "name": spec.name,
            "work_directory": str(work_directory),
            "entries": [entry.to_json() for entry in manifest.entries],
            "asks_for_nodes": not (spec.resources.ranks or spec.resources.nodes),
        }

        def once() -> JobRecord:
            prepare()
            with self._head.ask("submit", **request) as dialogue:
                first = dialogue.answer()
                if "job" in first.document:  # a try of which no answer came has done it
                    return JobRecord.from_json(first.document["job"])
                _send_files(dialogue, manifest, first.document["missing"])
                dialogue.tell(
                    argument_vector(spec.command),
                    **_parts(spec, key, first.document, after_numbers),
                )
                return JobRecord.from_json(dialogue.answer().document["job"])

        return again_when_lost(once)

    def explain(self, spec: JobSpec, work_directory: Path) -> Explanation:
        """Return what ``submit`` would give to Slurm, and why; nothing is kept on the head.

        Raises:
            InvalidInput: The job cannot run there.
            Unreachable, AccessDenied: There is no way to the head.
        """
        from beowulf.runner.explanation import of_cluster  # noqa: PLC0415 - seldom

        told = self._answer("facts").document
        script = str(_parts(spec, JOB_KEY, told)["script"])
        _, nodes_up = choose(spec, told)
        return of_cluster(str(self.cluster), spec, nodes_up, script, work_directory)

    def _number_to_wait_for(self, job_id: str) -> int | None:
        """Return Slurm's number of a job to wait for; None of one that has completed already.

        Raises:
            InvalidInput: It has ended otherwise, so that it never will complete.
        """
        record = self.record(job_id)
        if record.is_over and record.state != "COMPLETED":
            raise InvalidInput(
                "--after",
                f"job {job_id} is {record.state}",
                f"leave it out, or go on with it first: beowulf submit --resume {job_id}",
            )
        return None if record.is_over else record.slurm_job_id

    def resume(self, job_id: str, **overrides: int | str | None) -> JobRecord:
        """Go on with a job that ended early, from its newest valid checkpoint.

        Raises:
            JobNotFound: No such job.
            InvalidInput: The job still runs, has completed, or the resources don't fit.
        """
        key = secrets.token_hex(16)

        def once() -> JobRecord:
            with self._head.ask("resume", id=job_id, key=key) as dialogue:
                first = dialogue.answer()
                if "job" in first.document:
                    return JobRecord.from_json(first.document["job"])
                spec = parse_spec(first.data).with_resources(**overrides)
                dialogue.tell(**_parts(spec, key, first.document))
                return JobRecord.from_json(dialogue.answer().document["job"])

        return again_when_lost(once)

    def record(self, job_id: str | None = None) -> JobRecord:
        """Return the record of one job; without ID, of the newest."""
        return JobRecord.from_json(self._answer("record", id=job_id).document["job"])

    def examine(self, job_id: str | None = None) -> tuple[JobRecord, bytes]:
        """Return a job's record and, if it failed, the last of what it printed."""
        answer = self._answer("record", id=job_id, last_words=True)
        return JobRecord.from_json(answer.document["job"]), answer.data

    def records(self, last: int | None = None) -> list[JobRecord]:
        """Return the records of all jobs, or of the ``last`` so many, oldest first."""
        return _records(self._answer("records", last=last))

    def cancel(self, job_ids: Sequence[str]) -> list[JobRecord]:
        """End jobs and every process of theirs; those that are over stay as they are."""
        with self._head.ask("cancel", ids=list(job_ids)) as dialogue:
            while "jobs" not in (frame := dialogue.answer()).document:
                pass  # a sign of life: some are not over yet
        return _records(frame)

    def log(self, job_id: str | None, tail: int | None, write: Callable[[bytes], object]) -> Log:
        """Hand over what a job has printed, or its last ``tail`` lines, piece by piece."""
        with self._head.ask("log", id=job_id, tail=tail) as dialogue:
            while (frame := dialogue.hear()).document.get("more"):
                write(frame.data)
        return Log(str(frame.document["id"]), int(frame.document["offset"]))

    def follow(self, job_id: str, offset: int) -> Iterator[News]:
        """Yield how a job is and what it prints from byte ``offset`` on, until it is over.

        A connection that is lost is made anew, for as long as it takes.
        """
        record: JobRecord | None = None

        def frames() -> Iterator[Frame]:
            # Read anew at each connection: it goes on at the byte that came last.
            with self._head.ask("follow", SILENCE_S, id=job_id, offset=offset) as dialogue:
                yield from dialogue.frames()

        for frame in for_as_long_as_it_takes(frames):
            if "job" in frame.document:  # it is in the first one of each connection
                record = JobRecord.from_json(frame.document["job"])
            offset = int(frame.document.get("offset", offset))
            if record is not None:
                yield News(record, frame.data)

    def wait(self, job_ids: Sequence[str], timeout_s: float | None = None) -> list[JobRecord]:
        """Return the jobs' records once all are over; a lost connection is made anew.

        Raises:
            LaunchError: ``timeout_s`` seconds have passed, whether the head was heard or not.
        """
        limit = math.inf if timeout_s is None else time.monotonic() + timeout_s
        deadline = max(limit, time.monotonic() + FIRST_WORD_S)  # until it was heard once
        over: dict[str, JobRecord] = {}
        waiting: dict[str, JobRecord] = {}

        def frames() -> Iterator[Frame]:
            left = [job_id for job_id in job_ids if job_id not in over]
            with self._head.ask("wait", SILENCE_S, deadline, ids=left) as dialogue:
                for frame in dialogue.frames():
                    dialogue.deadline = limit
                    yield frame

        try:
            for frame in for_as_long_as_it_takes(frames, limit):
                deadline = limit
                if "job" in frame.document:
                    record = JobRecord.from_json(frame.document["job"])
                    over[record.id] = record
                elif "waiting" in frame.document:
                    record = JobRecord.from_json(frame.document["waiting"])
                    waiting[record.id] = record
                    if time.monotonic() >= limit:
                        raise still_running(record.id, record.state)
        except Unreachable as lost:
            if time.monotonic() < limit or not isinstance(lost, ConnectionLost):
                raise
            late = next(job_id for job_id in job_ids if job_id not in over)
            state = waiting[late].state if late in waiting else "UNKNOWN"
            raise still_running(late, state) from None
        return [over[job_id] for job_id in job_ids]

    def fetch(self, job_id: str, target: Path, without: Sequence[str]) -> Arrival:
        """Write a job's files to ``target``, but for the directories ``without``."""
        arrival = Arrival(target)
        have = arrival.have()
        with self._head.ask("fetch", id=job_id, without=list(without), have=have) as dialogue:
            target.mkdir(parents=True, exist_ok=True)
            arrival.take(dialogue.frames())
        return arrival

    def place(self, job_id: str | None, rank: int) -> Place:
        """Return where a rank of a running job is."""
        return Place(**self._answer("place", id=job_id, rank=rank).document["place"])

    def shell(self, place: Place) -> int:
        """Open an interactive shell there, inside the job, and return its exit status."""
        return self._head.connection.shell([
            "srun", f"--jobid={place.slurm_job_id}", "--overlap", "--pty", "--mpi=none",
            "--nodes=1", "--ntasks=1", f"--nodelist={place.host}", f"--chdir={place.code}",
            "bash", "-l",
        ])  # fmt: skip

    def aim(self, job_id: str | None, what: str, rank: int | None, node: str | None) -> Plug:
        """Return the plug of a running job that is meant, for a drill, without touching it."""
        answer = self._answer("aim", id=job_id, what=what, rank=rank, node=node)
        return Plug.from_json(answer.document["plug"])

    def drill(self, plug: Plug) -> Iterator[Recovery]:
        """Pull a plug on purpose, and yield how the job recovers."""
        with self._head.ask("drill", plug=plug.to_json()) as dialogue:
            for frame in dialogue.frames():
                if "recovery" in frame.document:
                    yield Recovery.from_json(frame.document["recovery"])

    def carry(
        self, listener: socket.socket, place: Place, port: int, complain: Callable[[str], None]
    ) -> None:
        """Carry the listener's connections to a port there, until it is closed."""
        relay(listener, self._head.connection, place.host, port, complain)

    def _answer(self, request: str, **document: Any) -> Frame:
        with self._head.ask(request, **document) as dialogue:
            return dialogue.answer()


def _send_files(dialogue: Dialogue, manifest: Manifest, missing: list[str]) -> None:
    for digest in missing:
        if digest not in manifest.sources:
            raise BeowulfError(f"{dialogue.name}: asked for a file that this job does not have")
        held = None  # the last piece is the one that says so
        for piece in manifest.chunks(digest):
            if held is not None:
                dialogue.tell(held, file=digest, more=True)
            held = piece
        dialogue.tell(held or b"", file=digest, more=False)


def _parts(
    spec: JobSpec, key: str, told: dict[str, Any], after: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Return what a job's directory on the head takes besides its files."""
    left_out, nodes_up = choose(spec, told)
    script = render_slurm(
        spec,
        directory=f"{told['jobs']}/{JOB_ID}",
        python=str(told["python"]),
        comment=f"beowulf:{JOB_ID}:{key}",
        after=after,
        nodes_up=nodes_up,
        attempt=int(told.get("attempt", 1)),
        left_out=tuple(one.node for one in left_out),
    )
    return {
        "spec": format_spec(spec).decode(),
        "script": script,
        "ranks": spec.resources.ranks,
        "left_out": [one.to_json() for one in left_out],
    }


def _records(frame: Frame) -> list[JobRecord]:
    return [JobRecord.from_json(job) for job in frame.document["jobs"]]

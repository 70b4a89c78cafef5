"""What can be said of a job, read from its directory alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from beowulf.durable import parse_json_lines, read_json, read_tail
from beowulf.errors import InvalidInput, one_line
from beowulf.job.events import read_events, time_of
from beowulf.job.heartbeat import read_heartbeats
from beowulf.job.lock import is_locked
from beowulf.job.paces import Paces, paces_of
from beowulf.job.story import Told, stage_of, tell, why_recovering
from beowulf.job.trust import Trust, read_trusts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.job.directory import JobDirectory

State = Literal[
    "QUEUED", "STARTING", "RUNNING", "RECOVERING",
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "UNKNOWN",
]  # fmt: skip
FINAL_STATES = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"})
LOST_SUPERVISOR = (
    "its supervisor is gone (killed, or the machine was switched off); "
    "go on with: beowulf submit --resume {job_id}"
)
TAIL_BYTES = 32_768
NUMBERS = ("step", "samples", "step_s")  # of a line of metrics
SPEED_LINES = 32  # the median of so many steps is the speed shown


@dataclass(frozen=True)
class Progress:
    """The newest line of the metrics."""

    step: int
    total_steps: int | None
    loss: float | None
    samples_per_s: float | None
    time_left_s: float | None


@dataclass(frozen=True)
class JobRecord:
    """One job as its directory tells it. Times are ISO 8601 in UTC, or None.

    ``paces`` and ``story`` are there only where one job was asked for. ``plan`` says in words how
    it trains and which nodes rest, where it chose that itself; ``left_out`` holds the nodes that
    it was submitted without.
    """

    id: str
    name: str
    state: State
    reason: str
    directory: str
    exit_code: int | None
    ranks: int | None
    attempt: int
    submitted_at: str | None
    started_at: str | None
    ended_at: str | None
    progress: Progress | None
    checkpoint_step: int | None
    result: dict[str, Any] | None
    pictures: tuple[str, ...]
    slurm_job_id: int | None = None
    paces: Paces | None = None
    plan: tuple[str, ...] = ()
    story: tuple[Told, ...] = ()
    left_out: tuple[Trust, ...] = ()

    @property
    def can_resume(self) -> bool:
        """Say whether there is something to go on from."""
        return self.is_over and self.state != "COMPLETED" and self.checkpoint_step is not None

    @property
    def is_over(self) -> bool:
        """Say whether nothing more will happen to this job by itself."""
        return self.state in FINAL_STATES

    @property
    def elapsed_s(self) -> float | None:
        """Seconds that the latest attempt has run, or ran."""
        if self.started_at is None:
            return None
        start = datetime.fromisoformat(self.started_at)
        end = datetime.fromisoformat(self.ended_at) if self.ended_at else datetime.now(UTC)
        return max(0.0, (end - start).total_seconds())

    def to_json(self) -> dict[str, Any]:
        """Return the record as it stands in every listing's JSON."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["progress"] = vars(self.progress) if self.progress else None
        fields["pictures"] = list(self.pictures)
        fields["plan"] = list(self.plan)
        fields["left_out"] = [trust.to_json() for trust in self.left_out]
        fields["story"] = [vars(told) for told in self.story]
        fields["paces"] = self.paces.to_json() if self.paces else None
        return {**fields, "elapsed_s": self.elapsed_s}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> JobRecord:
        """Return the record that ``to_json`` wrote, perhaps in another version of beowulf.

        Raises:
            TypeError, ValueError: Something is missing.
        """
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        progress = known.get("progress")
        known["progress"] = Progress(**progress) if progress else None
        known["pictures"] = tuple(known.get("pictures") or ())
        known["plan"] = tuple(known.get("plan") or ())
        known["left_out"] = read_trusts(known.get("left_out"))
        known["story"] = tuple(Told(**told) for told in known.get("story") or ())
        paces = known.get("paces")
        known["paces"] = Paces.from_json(paces) if paces else None
        return cls(**known)


def read_record(directory: JobDirectory, *, responsible: bool | None = None) -> JobRecord:
    """Read a job's record. It may be read at any moment of the job's life.

    ``responsible`` says whether somebody still looks after the job; left out, its lock does.
    """
    # The order matters. A supervisor writes the event "ended", then exit_code, then lets go.
    if responsible is None:
        responsible = is_locked(directory)
    there = directory.names()  # one look, and no search for what most jobs don't have
    exit_code = read_exit_code(directory) if directory.exit_code.name in there else None
    events = read_events(directory)
    latest = _since_last_submission(events)
    submission = _last(latest, "submitted", "resubmitted")
    ended = _last(latest, "ended")
    if responsible and (exit_code is None or not ended):  # of an attempt before, or not yet
        state: State = stage_of(latest)
        reason = why_recovering(latest) if state == "RECOVERING" else ""
        exit_code, ended = None, {}
    else:
        state, reason = _final_state(directory, exit_code, ended)
    return JobRecord(
        id=directory.job_id,
        name=str(events[0].get("name", "?") if events else "?"),
        state=state,
        reason=reason,
        directory=str(directory.path),
        exit_code=exit_code if exit_code is not None else _whole(ended.get("exit_code")),
        ranks=_whole(_last(latest, "started").get("ranks")) or _whole(submission.get("ranks")),
        attempt=_attempt(latest),
        submitted_at=time_of(events[0]) if events else None,
        started_at=time_of(_last(latest, "started")),
        ended_at=time_of(ended),
        progress=(
            progress_of(read_newest_metrics(directory)) if directory.metrics.name in there else None
        ),
        checkpoint_step=next(iter(directory.checkpoint_steps()), None),
        result=_table(read_json(directory.result)) if directory.result.name in there else None,
        pictures=tuple(str(path) for path in directory.pictures(there)),
        slurm_job_id=(
            read_slurm_job_id(directory) if directory.slurm_job_id.name in there else None
        ),
        plan=_sentences(_last(latest, "planned").get("said")),
        left_out=read_trusts(submission.get("left_out")),
    )


def in_full(record: JobRecord, directory: JobDirectory) -> JobRecord:
    """Return the record with the job's story, and with what is known of single ranks.

    That takes more files to read than a listing should.
    """
    record = replace(record, story=tell(read_events(directory)))
    paces = paces_of(read_newest_metrics(directory))
    if paces is None:
        return record
    said = read_heartbeats(directory, len(paces.ranks))
    return replace(record, paces=paces.on_hosts({beat.rank: beat.host for beat in said}))


def read_exit_code(directory: JobDirectory) -> int | None:
    """Return the job's exit status, or None while it has none."""
    try:
        return int(directory.exit_code.read_text())
    except (OSError, ValueError):
        return None


def refuse_unless_running(record: JobRecord) -> None:
    """Raise InvalidInput for a job that has no process now."""
    if record.state not in {"STARTING", "RUNNING", "RECOVERING"}:
        raise InvalidInput(
            "ID", f"job {record.id} is {record.state}", "name one that runs: beowulf jobs"
        )


def read_slurm_job_id(directory: JobDirectory) -> int | None:
    """Return the number that Slurm gave the job, or None for a job that Slurm does not have."""
    try:
        return int(directory.slurm_job_id.read_text())
    except (OSError, ValueError):
        return None


def _attempt(events: Sequence[dict[str, Any]]) -> int:
    """Return the number of the attempt that these events, of one submission, have come to."""
    begun = _last(events, "submitted", "resubmitted", "started", "restarting")
    return _whole(begun.get("attempt")) or 1


def _final_state(
    directory: JobDirectory, exit_code: int | None, ended: dict[str, Any]
) -> tuple[State, str]:
    """Weigh what the files of a job that is over say. The absence of news is never good news."""
    if str(ended.get("state")) in FINAL_STATES:
        return ended["state"], one_line(str(ended.get("reason", "")))
    if directory.done.exists():
        return "COMPLETED", ""
    if exit_code is not None:
        return "FAILED", f"exit status {exit_code}; why is lost, its events are damaged"
    if directory.cancel_request.exists():
        return "CANCELLED", "cancelled by its owner"
    return "FAILED", LOST_SUPERVISOR.format(job_id=directory.job_id)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _table(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _sentences(value: object) -> tuple[str, ...]:
    return tuple(one_line(str(sentence)) for sentence in value) if isinstance(value, list) else ()


def _since_last_submission(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of the latest attempt."""
    for index in range(len(events) - 1, -1, -1):
        if events[index].get("event") in ("submitted", "resubmitted"):
            return events[index:]
    return events


def _last(events: Sequence[dict[str, Any]], *names: str) -> dict[str, Any]:
    """Return the last event with one of these names, or an empty one."""
    return next((event for event in reversed(events) if event.get("event") in names), {})


def read_newest_metrics(directory: JobDirectory) -> list[dict[str, Any]]:
    """Return the last lines of the metrics, at most as many as tell how fast the job is now."""
    return list(parse_json_lines(read_tail(directory.metrics, TAIL_BYTES)))[-SPEED_LINES:]


def progress_of(lines: Sequence[dict[str, Any]]) -> Progress | None:
    """Sum up the newest metrics: speed and time left from the median of the lines given.

    Lines without the numbers that this needs are passed over.
    """
    lines = [line for line in lines if all(_is_number(line.get(key)) for key in NUMBERS)]
    if not lines:
        return None
    from statistics import median  # noqa: PLC0415 - slow to import, and most records have none

    newest = lines[-1]
    step_s = median(line["step_s"] for line in lines)
    speeds = [line["samples"] / line["step_s"] for line in lines if line["step_s"] > 0]
    total = _whole(newest.get("total_steps"))
    loss = newest.get("loss")
    return Progress(
        step=newest["step"],
        total_steps=total,
        loss=loss if _is_number(loss) else None,
        samples_per_s=median(speeds) if speeds else None,
        time_left_s=(total - newest["step"]) * step_s if total else None,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)

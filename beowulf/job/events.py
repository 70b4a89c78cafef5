"""The story of a job: what happened and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from beowulf.durable import append_json_line, read_json_lines

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory

EventName = Literal[
    "submitted",
    "resubmitted",
    "started",
    "running",
    "resumed",
    "checkpoint_rejected",
    "checkpoint_failed",
    "planned",
    "lost",
    "carried_on",
    "restarting",
    "growing",
    "drill",
    "ended",
]


def record_event(directory: JobDirectory, event: EventName, **details: object) -> None:
    """Append one event, stamped with the time in UTC, to the job's story."""
    append_json_line(directory.events, {"time": utc_now(), "event": event, **details})


def read_events(directory: JobDirectory) -> list[dict[str, Any]]:
    """Return the job's story so far, oldest event first."""
    return read_json_lines(directory.events)


def time_of(event: dict[str, Any]) -> str | None:
    """Return when an event happened, ISO 8601 in UTC, or None if that is damaged."""
    try:
        moment = datetime.fromisoformat(event["time"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="milliseconds")


def utc_now() -> str:
    """Return the time as ISO 8601 with milliseconds, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")

"""A job's story is told in the order in which it happened, with the time in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from beowulf.job.events import read_events, record_event

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory


def test_events_are_read_in_order_with_their_details(job: JobDirectory) -> None:
    record_event(job, "submitted", name="digits", ranks=4)
    record_event(job, "started", pid=1234)
    record_event(job, "ended", state="COMPLETED", reason="")
    events = read_events(job)
    assert [event["event"] for event in events] == ["submitted", "started", "ended"]
    assert events[0]["name"] == "digits"
    assert events[0]["ranks"] == 4


def test_times_are_in_utc_and_now(job: JobDirectory) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # events keep whole milliseconds
    record_event(job, "running")
    after = datetime.now(UTC)
    time = datetime.fromisoformat(read_events(job)[0]["time"])
    assert time.utcoffset() == timedelta(0)
    assert before <= time <= after


def test_a_job_without_a_story_has_no_events(job: JobDirectory) -> None:
    assert read_events(job) == []

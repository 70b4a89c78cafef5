"""How a recovery is measured by a job's story and its steps."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.durable import append_json_line, write_file
from beowulf.job.events import record_event
from beowulf.job.record import JobRecord, read_record
from beowulf.job.recovery import Recovery, recovery_in, speed_of, watch

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory

PULLED_AT = datetime(2026, 11, 25, 14, 0, tzinfo=UTC).timestamp()


def event(name: str, after_s: float, **details: Any) -> dict[str, Any]:
    return {"event": name, "time": when(after_s), **details}


def when(after_s: float) -> str:
    return datetime.fromtimestamp(PULLED_AT + after_s, UTC).isoformat(timespec="milliseconds")


LOST = event("lost", 3.9, ranks=[3], hosts=["node3"], step=42)
CARRIED_ON = event("carried_on", 4.25, ranks=[0, 1, 2], step=42, lost_s=4.1)
RESTARTING = event("restarting", 5, attempt=2, step=30, left_out=["node3"], why="")
RUNNING = event("running", 45, attempt=2)


def in_story(*events: dict[str, Any]) -> Recovery:
    return recovery_in(events, PULLED_AT)


def test_nobody_has_noticed_yet() -> None:
    assert in_story() == Recovery()
    assert not in_story(event("drill", 0)).is_back


def test_a_job_carries_on_in_place() -> None:
    assert in_story(LOST) == Recovery(noticed_s=3.9)
    found = in_story(LOST, CARRIED_ON)
    assert found == Recovery(noticed_s=3.9, carried_on_s=4.25, ranks=3, step=42, lost_s=4.1)
    assert found.is_back
    assert Recovery.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_job_is_started_again() -> None:
    assert in_story(RESTARTING).noticed_s == 5
    assert not in_story(LOST, RESTARTING).is_back
    found = in_story(LOST, RESTARTING, event("started", 40), RUNNING)
    assert (found.noticed_s, found.restarting_s, found.restarted_s) == (3.9, 5, 45)
    assert (found.from_step, found.attempt, found.is_back) == (30, 2, True)


def test_what_happens_later_is_not_of_this_drill() -> None:
    later = event("lost", 60), event("carried_on", 61, ranks=[0], step=50, lost_s=1)
    assert in_story(LOST, CARRIED_ON, *later) == in_story(LOST, CARRIED_ON)


def test_clocks_may_differ_a_little_and_events_be_damaged() -> None:
    assert in_story(event("lost", -0.02)).noticed_s == 0
    damaged: list[dict[str, Any]] = [event("carried_on", 1, ranks="x", step="y", lost_s=True), {}]
    damaged.append({"event": "lost"})
    assert in_story(*damaged) == Recovery(carried_on_s=1)


def test_speed_is_that_of_the_median_step() -> None:
    lines = [{"step_s": s} for s in (0.25, 9, 0.25, 0.1)]
    assert speed_of(lines) == 4
    assert speed_of([]) is None
    assert speed_of([{"step_s": "x"}, {"step_s": 0}, {"step": 1}]) is None


# --- Watching -------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes by itself: each look takes a quarter of a second."""
    clock = itertools.count(0, 0.25)
    monkeypatch.setattr("beowulf.job.recovery.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("beowulf.job.recovery.time.sleep", lambda _: None)


@pytest.fixture
def drilled(job: JobDirectory, quick: None) -> JobDirectory:
    """A job whose plug was pulled at step 42, at four steps per second."""
    record_event(job, "submitted", name="digits", ranks=4, attempt=1)
    record_event(job, "running")
    step(job, *range(1, 43))
    return job


def step(job: JobDirectory, *numbers: int, step_s: float = 0.25) -> None:
    for number in numbers:
        append_json_line(job.metrics, {"step": number, "step_s": step_s})


def say(job: JobDirectory, event: dict[str, Any]) -> None:
    append_json_line(job.events, event)


def alive(job: JobDirectory) -> JobRecord:
    return read_record(job, responsible=True)


def test_it_is_watched_until_it_is_known_how_fast_it_goes_on(drilled: JobDirectory) -> None:
    looks = watch(drilled, 2, PULLED_AT, lambda: alive(drilled))
    assert next(looks) == Recovery()
    say(drilled, LOST)
    assert next(looks).noticed_s == 3.9
    say(drilled, CARRIED_ON)
    step(drilled, 42, step_s=4.3)  # the one that was redone tells nothing of the speed
    assert next(looks).steps_per_s is None
    step(drilled, *range(43, 51), step_s=0.5)
    last = list(looks)[-1]
    assert (last.steps, last.steps_per_s, last.is_back) == (8, 2.0, True)


def test_of_a_new_attempt_its_own_steps_count(drilled: JobDirectory) -> None:
    looks = watch(drilled, 2, PULLED_AT, lambda: alive(drilled))
    next(looks)
    say(drilled, RESTARTING)
    say(drilled, RUNNING)
    assert next(looks).steps == 0  # 31 to 42 are still those of the attempt before
    kept = drilled.metrics.read_bytes().splitlines(keepends=True)[:30]
    write_file(drilled.metrics, b"".join(kept))
    step(drilled, *range(31, 45), step_s=0.5)
    last = list(looks)[-1]
    assert (last.steps_per_s, last.from_step, last.restarted_s) == (2.0, 30, 45)


def test_a_job_that_does_not_survive_says_why(drilled: JobDirectory) -> None:
    record_event(drilled, "ended", state="FAILED", reason="rank 3 was killed", exit_code=137)
    drilled.exit_code.write_text("137\n")
    last = list(watch(drilled, 2, PULLED_AT, lambda: read_record(drilled)))[-1]
    assert (last.state, last.reason, last.is_back) == ("FAILED", "rank 3 was killed", False)


def test_it_is_not_watched_for_ever(drilled: JobDirectory) -> None:
    assert list(watch(drilled, 2, PULLED_AT, lambda: alive(drilled), 10))[-1] == Recovery()
    say(drilled, CARRIED_ON)
    last = list(watch(drilled, 2, PULLED_AT, lambda: alive(drilled)))[-1]
    assert last.is_back
    assert last.steps_per_s is None

"""What is said of a job at every moment of its life, from files made by hand."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.durable import append_json_line
from beowulf.job.events import record_event
from beowulf.job.lock import take_lock
from beowulf.job.record import (
    JobRecord,
    Progress,
    in_full,
    progress_of,
    read_exit_code,
    read_record,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beowulf.job.directory import JobDirectory

FAILURE = "rank 1 on node1 failed: ValueError: 7"


@pytest.fixture
def submitted(job: JobDirectory) -> JobDirectory:
    """A job that was submitted; nobody is responsible for it."""
    record_event(job, "submitted", name="digits", ranks=4, attempt=1, work_directory="/work")
    return job


@pytest.fixture
def supervised(submitted: JobDirectory) -> Iterator[JobDirectory]:
    """A job that was submitted and has a supervisor: this process."""
    descriptor = take_lock(submitted)
    assert descriptor is not None
    yield submitted
    os.close(descriptor)


def end(job: JobDirectory, state: str, exit_code: int, reason: str = "") -> None:
    """Write a job's end as a supervisor does."""
    record_event(job, "ended", state=state, reason=reason, exit_code=exit_code)
    job.exit_code.write_text(f"{exit_code}\n")


def said(job: JobDirectory) -> tuple[str, str, int | None]:
    record = read_record(job)
    return record.state, record.reason, record.exit_code


# --- One attempt, from its beginning to its end ---------------------------------------------


def test_a_job_that_was_just_submitted_is_queued(supervised: JobDirectory) -> None:
    record = read_record(supervised)
    assert said(supervised) == ("QUEUED", "", None)
    assert (record.id, record.name, record.ranks, record.attempt) == ("7", "digits", 4, 1)
    assert record.submitted_at is not None
    assert (record.started_at, record.ended_at, record.elapsed_s) == (None, None, None)
    assert (record.progress, record.result) == (None, None)
    assert record.directory == str(supervised.path)
    assert not record.is_over


def test_a_job_whose_launcher_was_started_is_starting(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    record = read_record(supervised)
    assert record.state == "STARTING"
    assert record.started_at is not None
    assert record.elapsed_s is not None
    assert record.elapsed_s >= 0


def test_a_job_whose_ranks_are_all_up_is_running(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    record_event(supervised, "running")
    assert said(supervised) == ("RUNNING", "", None)


def test_later_events_do_not_change_that_it_runs(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    record_event(supervised, "resumed", step=10)
    record_event(supervised, "checkpoint_rejected", checkpoint="step-00000020", why="damaged")
    assert said(supervised) == ("RUNNING", "", None)


def test_what_a_run_has_planned_last_is_told(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    record_event(supervised, "planned", strategy="alone", said=["node1 trains alone"])
    record_event(supervised, "planned", strategy="dense", said=["all train", "\x1b[31mand so on"])
    record = read_record(supervised)
    assert record.state != "UNKNOWN"
    assert len(record.plan) == 2
    assert record.plan[0] == "all train"
    assert JobRecord.from_json(record.to_json()).plan == record.plan


@pytest.mark.parametrize(
    ("state", "exit_code", "reason"),
    [
        ("COMPLETED", 0, ""),
        ("FAILED", 3, FAILURE),
        ("CANCELLED", 143, "cancelled by its owner"),
        ("TIMEOUT", 124, "ran longer than its time limit"),
    ],
)
@pytest.mark.parametrize("supervisor_stays", [False, True])
def test_ends(
    supervised: JobDirectory, state: str, exit_code: int, reason: str, supervisor_stays: bool
) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    end(supervised, state, exit_code, reason)
    if not supervisor_stays:
        supervised.lock.unlink()
    assert said(supervised) == (state, reason, exit_code)
    record = read_record(supervised)
    assert record.is_over
    assert record.ended_at is not None
    assert record.elapsed_s is not None


def test_a_job_is_not_over_before_its_exit_status_can_be_read(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    record_event(supervised, "running")
    record_event(supervised, "ended", state="FAILED", reason=FAILURE, exit_code=3)
    assert said(supervised) == ("RUNNING", "", None)
    assert read_record(supervised).ended_at is None
    supervised.exit_code.write_text("3\n")
    assert said(supervised) == ("FAILED", FAILURE, 3)


def test_a_supervisor_that_died_between_event_and_exit_status(submitted: JobDirectory) -> None:
    record_event(submitted, "ended", state="FAILED", reason=FAILURE, exit_code=3)
    assert said(submitted) == ("FAILED", FAILURE, 3)


# --- A supervisor that is lost --------------------------------------------------------------


@pytest.mark.parametrize("events", [[], ["started"], ["started", "running"]])
def test_a_job_that_lost_its_supervisor_has_failed(
    submitted: JobDirectory, events: list[Any]
) -> None:
    for event in events:
        record_event(submitted, event)
    state, reason, exit_code = said(submitted)
    assert (state, exit_code) == ("FAILED", None)
    assert "its supervisor is gone" in reason
    assert "beowulf submit --resume 7" in reason


def test_a_job_that_finished_without_its_supervisor_has_completed(submitted: JobDirectory) -> None:
    submitted.done.write_text("{}")
    assert said(submitted) == ("COMPLETED", "", None)


def test_a_job_that_was_cancelled_without_its_supervisor(submitted: JobDirectory) -> None:
    submitted.cancel_request.touch()
    assert said(submitted) == ("CANCELLED", "cancelled by its owner", None)


def test_the_absence_of_news_is_not_good_news(submitted: JobDirectory) -> None:
    submitted.exit_code.write_text("0\n")
    state, reason, _ = said(submitted)
    assert state == "FAILED"
    assert "its events are damaged" in reason


# --- A second attempt -----------------------------------------------------------------------


def test_a_job_that_goes_on_forgets_how_it_ended_before(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    end(supervised, "FAILED", 3, FAILURE)
    record_event(supervised, "resubmitted", attempt=2, ranks=2)
    record = read_record(supervised)
    assert said(supervised) == ("QUEUED", "", None)
    assert (record.attempt, record.ranks, record.name) == (2, 2, "digits")
    assert record.started_at is record.ended_at is None
    supervised.exit_code.unlink()
    assert said(supervised) == ("QUEUED", "", None)
    record_event(supervised, "started", attempt=2, ranks=2, pid=1234)
    record_event(supervised, "running")
    end(supervised, "COMPLETED", 0)
    assert said(supervised) == ("COMPLETED", "", 0)


def test_a_second_attempt_that_loses_its_supervisor(submitted: JobDirectory) -> None:
    end(submitted, "CANCELLED", 143, "cancelled by its owner")
    record_event(submitted, "resubmitted", attempt=2, ranks=4)
    submitted.exit_code.unlink()
    assert said(submitted)[0] == "FAILED"
    assert "its supervisor is gone" in said(submitted)[1]


# --- Ranks that are lost on the way -----------------------------------------------------------


def test_a_job_recovers_from_a_loss_until_it_has_carried_on(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    record_event(supervised, "running")
    record_event(supervised, "lost", ranks=[3], hosts=["node3"], step=9, attempt=1)
    assert said(supervised)[0] == "RECOVERING"
    record_event(supervised, "carried_on", ranks=[0, 1, 2], hosts=["node1"], step=9, lost_s=4.1)
    assert said(supervised) == ("RUNNING", "", None)


def test_a_job_recovers_from_a_restart_until_all_its_ranks_are_up(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    record_event(supervised, "running")
    record_event(
        supervised, "restarting", attempt=2, why="node3 stopped answering", left_out=["node3"],
        step=8,
    )  # fmt: skip
    assert said(supervised)[0] == "RECOVERING"
    assert read_record(supervised).attempt == 2
    record_event(supervised, "started", attempt=2, ranks=3, pid=1235)
    record = read_record(supervised)
    assert (record.state, record.attempt, record.ranks) == ("RECOVERING", 2, 3)
    record_event(supervised, "running")
    assert said(supervised) == ("RUNNING", "", None)
    end(supervised, "COMPLETED", 0)
    assert read_record(supervised).attempt == 2


def test_a_restart_before_all_ranks_had_been_up(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    record_event(supervised, "restarting", attempt=2, why="node3 was lost", left_out=[], step=None)
    record_event(supervised, "started", attempt=2, ranks=4, pid=1235)
    assert said(supervised)[0] == "RECOVERING"


# --- Damage ---------------------------------------------------------------------------------


def test_half_written_and_damaged_lines_change_nothing(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=4, pid=1234)
    with supervised.events.open("ab") as file:
        file.write(b'\xff\xfe{"event"\n[]\n"ended"\n{"event": 7}\n{"time": 3}\n')
        file.write(b'{"time": "2026-01-01T00:00:00+00:00", "event": "ended", "sta')
    with supervised.metrics.open("ab") as file:
        file.write(b'{"step": 4, "samples": 64, "step_s": 0.5, "loss": 1.5}\n{"step": 5, "sam')
    record = read_record(supervised)
    assert record.state == "STARTING"
    assert record.progress == Progress(4, None, 1.5, 128.0, None)


@pytest.mark.parametrize(
    "event",
    [
        {"event": "ended"},
        {"event": "ended", "state": "RUNNING"},
        {"event": "ended", "state": ["FAILED"]},
        {"event": "ended", "state": "FINE", "reason": "", "exit_code": 0},
    ],
)
def test_an_end_that_says_nothing_is_not_believed(
    submitted: JobDirectory, event: dict[str, Any]
) -> None:
    append_json_line(submitted.events, event)
    submitted.exit_code.write_text("3\n")
    assert said(submitted)[0] == "FAILED"
    assert said(submitted)[2] == 3
    assert read_record(submitted).is_over


@given(
    position=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.integers(0, 10_000),
    name=st.sampled_from(["events", "metrics", "result", "exit_code"]),
)  # fmt: skip
def test_a_record_can_be_read_whatever_is_damaged(
    submitted: JobDirectory, position: int, bit: int, cut: int, name: str
) -> None:
    metrics = {"step": 1, "total_steps": 9, "loss": 0.5, "samples": 64, "step_s": 0.1}
    lines: dict[str, list[object]] = {
        "events": [
            {"time": "2026-01-01T00:00:00.000+00:00", "event": "submitted", "name": "x",
             "ranks": 4, "attempt": 1},
            {"time": "2026-01-01T00:00:01.000+00:00", "event": "started", "pid": 17},
            {"time": "2026-01-01T00:00:02.000+00:00", "event": "ended", "state": "COMPLETED",
             "reason": "", "exit_code": 0},
        ],
        "metrics": [metrics, metrics],
        "result": [{"final_loss": 0.5}],
        "exit_code": [0],
    }  # fmt: skip
    for file, content in lines.items():
        getattr(submitted, file).write_text("".join(json.dumps(line) + "\n" for line in content))
    path = getattr(submitted, name)
    damaged = bytearray(path.read_bytes())
    damaged[position % len(damaged)] ^= 1 << bit
    for data in (bytes(damaged), bytes(damaged[: cut % len(damaged)])):
        path.write_bytes(data)
        record = read_record(submitted)
        assert record.is_over
        json.dumps(record.to_json())


def test_a_directory_without_a_story(job: JobDirectory) -> None:
    record = read_record(job)
    assert (record.name, record.state, record.submitted_at) == ("?", "FAILED", None)


def test_a_reason_is_one_line(submitted: JobDirectory) -> None:
    end(submitted, "FAILED", 1, "rank 0 failed: two\nlines \x1b[31mred")
    assert read_record(submitted).reason == "rank 0 failed: two\\nlines \\x1b[31mred"


@pytest.mark.parametrize(
    ("content", "exit_code"),
    [("0\n", 0), ("143\n", 143), ("", None), ("\n", None), ("x", None), ("1.5", None)],
)
def test_exit_statuses(job: JobDirectory, content: str, exit_code: int | None) -> None:
    job.exit_code.write_text(content)
    assert read_exit_code(job) == exit_code


# --- Losses ---------------------------------------------------------------------------------


def test_a_job_that_lost_a_rank_is_recovering_and_says_from_what(supervised: JobDirectory) -> None:
    record_event(supervised, "started", attempt=1, ranks=2, hosts=["head", "node1"])
    record_event(supervised, "running")
    record_event(supervised, "lost", ranks=[1], hosts=["node1"], step=7, attempt=1)
    assert said(supervised) == ("RECOVERING", "node1 stopped answering (rank 1)", None)
    record_event(supervised, "carried_on", ranks=[0], hosts=["head"], step=7, lost_s=1.5)
    assert said(supervised) == ("RUNNING", "", None)


def test_the_story_travels_with_the_record_of_one_job(supervised: JobDirectory) -> None:
    record_event(supervised, "running")
    record = in_full(read_record(supervised), supervised)
    assert [told.said for told in record.story] == ["submitted", "all ranks are up"]
    assert JobRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert read_record(supervised).story == ()


# --- Progress -------------------------------------------------------------------------------


def line(step: int, step_s: object, **more: Any) -> dict[str, Any]:
    return {"step": step, "total_steps": 100, "loss": 2.0, "samples": 64, "step_s": step_s} | more


def test_speed_and_time_left_come_from_the_median_step() -> None:
    lines = [line(1, 9.0), line(2, 0.5), line(3, 0.5), line(4, 0.5), line(5, 7.0, loss=1.5)]
    assert progress_of(lines) == Progress(
        step=5, total_steps=100, loss=1.5, samples_per_s=128.0, time_left_s=47.5
    )


def test_progress_without_an_end_or_a_loss_or_a_duration() -> None:
    assert progress_of([]) is None
    assert progress_of([line(3, 0.0, total_steps=None, loss=None)]) == Progress(
        3, None, None, None, None
    )
    assert progress_of([{"step": 3}, line(2, 0.5), {"other": 1}, line(9, "0.5")]) == Progress(
        2, 100, 2.0, 128.0, 49.0
    )


def test_only_the_newest_steps_count_for_the_speed(job: JobDirectory) -> None:
    for step in range(1, 501):
        append_json_line(job.metrics, line(step, 100.0 if step <= 450 else 0.5))
    progress = read_record(job).progress
    assert progress is not None
    assert (progress.step, progress.samples_per_s) == (500, 128.0)


def test_what_a_record_is_in_json(submitted: JobDirectory) -> None:
    submitted.result.write_text('{"test_accuracy": 0.97}')
    (submitted.path / "loss.png").touch()
    append_json_line(submitted.metrics, line(4, 0.5))
    end(submitted, "COMPLETED", 0)
    document = json.loads(json.dumps(read_record(submitted).to_json()))
    assert {"id", "name", "state", "directory", "exit_code", "reason"} <= set(document)
    assert document["result"] == {"test_accuracy": 0.97}
    assert document["progress"]["step"] == 4
    assert document["pictures"] == [str(submitted.path / "loss.png")]

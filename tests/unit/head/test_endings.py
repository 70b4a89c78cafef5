"""A job that Slurm has done with, or forgotten, comes to an end: by its own word if it has one."""

from __future__ import annotations

import errno
import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from beowulf.head import endings
from beowulf.head.records import Slurm, record_of, records_of
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.record import read_exit_code
from tests.unit.head.conftest import grow_old

if TYPE_CHECKING:
    from tests.unit.head.conftest import FakeSlurm


@pytest.fixture
def forgotten(queued: JobDirectory, slurm: FakeSlurm) -> JobDirectory:
    """A job that Slurm does not know any more, since yesterday."""
    slurm.forget()
    grow_old(queued)
    return queued


def test_a_forgotten_job_that_said_nothing_has_failed(forgotten: JobDirectory) -> None:
    record = record_of(forgotten, Slurm())
    assert (record.state, record.reason, record.exit_code) == ("FAILED", endings.FORGOTTEN, 125)
    assert read_exit_code(forgotten) == 125


def test_a_forgotten_job_that_was_done_has_completed(forgotten: JobDirectory) -> None:
    forgotten.done.touch()
    record = record_of(forgotten, Slurm())
    assert (record.state, record.exit_code) == ("COMPLETED", 0)
    assert read_exit_code(forgotten) == 0


def test_a_forgotten_job_that_was_to_be_cancelled_is(forgotten: JobDirectory) -> None:
    forgotten.cancel_request.touch()
    assert record_of(forgotten, Slurm()).state == "CANCELLED"


@pytest.mark.parametrize("told", ["", "101|CANCELLED|node2|{path}\n"])
def test_a_job_whose_exit_code_alone_is_missing_said_how_it_ended(
    forgotten: JobDirectory, slurm: FakeSlurm, told: str
) -> None:
    record_event(forgotten, "ended", state="TIMEOUT", reason="its time was up", exit_code=124)
    slurm.answer("sacct", output=told.format(path=forgotten.path))
    record = record_of(forgotten, Slurm())
    assert (record.state, record.reason, record.exit_code) == ("TIMEOUT", "its time was up", 124)
    assert read_exit_code(forgotten) == 124


@pytest.mark.parametrize(
    ("word", "state"),
    [("CANCELLED by 1000", "CANCELLED"), ("TIMEOUT", "TIMEOUT"), ("NODE_FAIL", "FAILED"),
     ("OUT_OF_MEMORY", "FAILED")],
)  # fmt: skip
def test_accounting_knows_what_slurm_has_forgotten(
    forgotten: JobDirectory, slurm: FakeSlurm, word: str, state: str
) -> None:
    slurm.answer("sacct", output=f"101|{word}|node2|{forgotten.path}\n")
    record = record_of(forgotten, Slurm())
    assert record.state == state
    assert record.reason != endings.FORGOTTEN
    assert record_of(forgotten, Slurm()).state == state
    assert len(slurm.calls("sacct")) == 1, "it is written down"


@pytest.mark.parametrize(
    "told",
    [
        {"output": "101|COMPLETED|node2|/home/ada/beowulf/jobs/7\n"},  # the number of another job
        {"output": "101|RUNNING|node2|{path}\n"},  # the database has not heard of its end
        {"output": "nonsense\n101\n||||\n"},
        {"status": 1, "errors": "sacct: error: Slurm accounting storage is disabled\n"},
    ],
)
def test_accounting_that_does_not_help_is_done_without(
    forgotten: JobDirectory, slurm: FakeSlurm, told: dict[str, object]
) -> None:
    filled = str(told.get("output", "")).replace("{path}", str(forgotten.path))
    slurm.answer("sacct", **{**told, "output": filled})
    assert record_of(forgotten, Slurm()).reason == endings.FORGOTTEN


def test_a_cluster_without_accounting(forgotten: JobDirectory, slurm: FakeSlurm) -> None:
    (slurm.state.parent / "commands/sacct").unlink()
    assert record_of(forgotten, Slurm()).reason == endings.FORGOTTEN


def test_a_job_that_still_writes_is_not_called_over(forgotten: JobDirectory) -> None:
    forgotten.log.write_bytes(b"epoch 3\n")
    record = record_of(forgotten, Slurm())
    assert (record.state, record.reason) == ("UNKNOWN", endings.STILL_WRITES)
    assert read_exit_code(forgotten) is None


def test_a_full_disk_does_not_hide_how_a_job_ended(
    forgotten: JobDirectory, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(endings, "record_event", no_room)
    slurm.answer("sacct", output=f"101|TIMEOUT|node2|{forgotten.path}\n")
    record = record_of(forgotten, Slurm())
    assert (record.state, record.exit_code) == ("TIMEOUT", 124)


def copies(job: JobDirectory, count: int) -> list[JobDirectory]:
    found = [JobDirectory(job.path.parent / str(number)) for number in range(2, count + 2)]
    for number, one in enumerate(found, 102):
        shutil.copytree(job.path, one.path)
        one.slurm_job_id.write_text(f"{number}\n")
        grow_old(one)
    return [job, *found]


def test_accounting_is_asked_about_all_jobs_at_once(
    forgotten: JobDirectory, slurm: FakeSlurm
) -> None:
    assert {record.state for record in records_of(copies(forgotten, 5))} == {"FAILED"}
    (words,) = slurm.calls("sacct")
    assert "--jobs=101,102,103,104,105,106" in words


def test_jobs_that_end_have_one_time_together_for_their_last_words(
    queued: JobDirectory, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = copies(queued, 5)
    slurm.set(101, "FAILED")
    for number in range(102, 107):
        slurm.add(number, "FAILED", f"beowulf:{number - 100}:key")
    slept: list[float] = []
    clock = [0.0]

    def sleep(pause_s: float) -> None:
        slept.append(pause_s)
        clock[0] += pause_s

    monkeypatch.setattr(endings, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    assert {record.state for record in records_of(jobs)} == {"FAILED"}
    assert sum(slept) <= endings.LAST_WORDS_S + endings.POLL_S


def test_a_last_word_that_comes_late_counts(
    queued: JobDirectory, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.set(101, "FAILED")

    def speak(_pause_s: float) -> None:
        record_event(queued, "ended", state="FAILED", reason="rank 1 failed", exit_code=7)
        queued.exit_code.write_text("7\n")

    clock = SimpleNamespace(sleep=speak, monotonic=lambda: 0.0)
    monkeypatch.setattr(endings, "time", clock)
    assert record_of(queued, Slurm()).reason == "rank 1 failed"


def test_of_a_job_that_is_written_down_nobody_is_asked(
    forgotten: JobDirectory, slurm: FakeSlurm
) -> None:
    record_of(forgotten, Slurm())
    asked = len(slurm.calls("squeue"))
    record_of(forgotten, Slurm())
    assert len(slurm.calls("squeue")) == asked

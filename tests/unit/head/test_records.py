"""What is said of a job on a cluster: by its own files first, by Slurm where they are silent."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from beowulf.head import endings, given
from beowulf.head.records import Slurm, record_of, records_of
from beowulf.job.events import record_event
from beowulf.job.lock import take_lock
from beowulf.job.record import read_exit_code
from tests.unit.head.conftest import grow_old

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory
    from tests.unit.head.conftest import FakeSlurm


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "LAST_WORDS_S", 0.0)


def no_room(*_: object) -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@pytest.fixture
def job(queued: JobDirectory) -> JobDirectory:
    return queued


def test_a_job_that_waits_says_why(job: JobDirectory) -> None:
    record = record_of(job, Slurm())
    assert (record.state, record.slurm_job_id) == ("QUEUED", 101)
    assert record.reason


def test_a_job_that_runs_is_told_by_its_own_files(job: JobDirectory, slurm: FakeSlurm) -> None:
    slurm.set(101, "RUNNING", "node[1-4]")
    assert record_of(job, Slurm()).state == "QUEUED"
    record_event(job, "started", attempt=1, ranks=4)
    assert record_of(job, Slurm()).state == "STARTING"
    record_event(job, "running")
    assert (record_of(job, Slurm()).state, record_of(job, Slurm()).reason) == ("RUNNING", "")


def test_a_job_that_slurm_starts_again_recovers(job: JobDirectory, slurm: FakeSlurm) -> None:
    record_event(job, "started", attempt=1, ranks=4)
    record_event(job, "running")
    slurm.set(101, "PENDING")
    record = record_of(job, Slurm())
    assert record.state == "RECOVERING"
    assert record.reason.startswith(
        "its first node was lost, and it is to be started again: others come first"
    )
    jobs = slurm.state / "jobs"
    jobs.write_text(jobs.read_text().replace("Priority", "BeginTime"))
    record = record_of(job, Slurm())
    assert record.reason == "its first node was lost, and Slurm starts it again in a moment"


def test_a_job_that_is_over_is_told_without_slurm(job: JobDirectory, slurm: FakeSlurm) -> None:
    record_event(job, "ended", state="FAILED", reason="rank 1 failed", exit_code=7)
    job.exit_code.write_text("7\n")
    (record,) = records_of([job])
    assert (record.state, record.reason, record.exit_code) == ("FAILED", "rank 1 failed", 7)
    assert slurm.calls("squeue") == []


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("CANCELLED", "CANCELLED"), ("TIMEOUT", "TIMEOUT"), ("NODE_FAIL", "FAILED"),
        ("OUT_OF_MEMORY", "FAILED"), ("FAILED", "FAILED"), ("COMPLETED", "FAILED"),
    ],
)  # fmt: skip
def test_an_end_that_only_slurm_knows_is_written_down(
    job: JobDirectory, slurm: FakeSlurm, word: str, state: str
) -> None:
    slurm.set(101, word, "node2")
    record = record_of(job, Slurm())
    assert record.state == state, "success is proven by the done-marker alone"
    assert record.reason
    assert record.exit_code not in {0, None}
    slurm.forget()
    assert record_of(job, Slurm()).reason == record.reason
    assert read_exit_code(job) == record.exit_code


def test_while_slurm_is_silent_nothing_is_lost(job: JobDirectory, slurm: FakeSlurm) -> None:
    slurm.answer("squeue", status=1, errors="Unable to contact slurm controller\n")
    record = record_of(job, Slurm())
    assert record.state == "UNKNOWN"
    assert "the job is not lost" in record.reason
    slurm.answer("squeue")
    assert record_of(job, Slurm()).state == "QUEUED"


def test_a_state_never_seen_before_is_one_that_may_still_run(
    job: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.set(101, "TELEPORTING")
    assert record_of(job, Slurm()).state == "QUEUED"


def test_a_job_that_slurm_never_got(job: JobDirectory, slurm: FakeSlurm) -> None:
    job.slurm_job_id.unlink()
    slurm.forget()
    record = record_of(job, Slurm())
    assert (record.state, record.reason) == (
        "FAILED", "it was never given to Slurm; submit it again",
    )  # fmt: skip


def test_a_job_whose_number_was_never_written_is_known_by_its_comment(
    job: JobDirectory, slurm: FakeSlurm
) -> None:
    job.slurm_job_id.unlink()
    slurm.add(102, "PENDING", "beowulf:11:key")
    record = record_of(job, Slurm())
    assert (record.state, record.slurm_job_id) == ("QUEUED", 101)
    assert job.slurm_job_id.read_text() == "101\n"


def test_a_number_that_cannot_be_written_is_known_all_the_same(
    job: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.slurm_job_id.unlink()
    monkeypatch.setattr(given, "write_file", no_room)
    assert record_of(job, Slurm()).slurm_job_id == 101


def test_nothing_is_said_of_a_job_without_a_number_while_slurm_is_silent(
    job: JobDirectory, slurm: FakeSlurm
) -> None:
    job.slurm_job_id.unlink()
    slurm.answer("squeue", status=1, errors="Unable to contact slurm controller\n")
    assert record_of(job, Slurm()).state == "UNKNOWN"


def test_a_job_that_is_being_given_to_slurm_waits(job: JobDirectory, slurm: FakeSlurm) -> None:
    job.slurm_job_id.unlink()
    slurm.forget()
    lock = take_lock(job)
    assert lock is not None
    try:
        assert record_of(job, Slurm()).state == "QUEUED"
        assert record_of(job, Slurm(), held=True).state == "FAILED", "the lock is our own"
    finally:
        os.close(lock)


def test_of_two_slurm_jobs_the_one_with_the_claim_counts(
    job: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.set(101, "FAILED")
    slurm.add(102, "RUNNING", "beowulf:1:key")
    job.claim(1).write_text("102\n")
    record_event(job, "started", attempt=1, ranks=4)
    record = record_of(job, Slurm())
    assert (record.state, record.slurm_job_id) == ("STARTING", 102)
    assert read_exit_code(job) is None


def test_of_two_slurm_jobs_without_a_claim_one_that_may_still_run_counts(
    job: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.set(101, "CANCELLED")
    slurm.add(102, "PENDING", "beowulf:1:key")
    record = record_of(job, Slurm())
    assert (record.state, record.slurm_job_id) == ("QUEUED", 102)


def test_the_slurm_job_of_an_earlier_attempt_is_not_that_of_this_one(
    job: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.set(101, "CANCELLED")
    job.slurm_job_id.unlink()
    record_event(job, "resubmitted", attempt=2, ranks=4, key="new")
    record = record_of(job, Slurm())
    assert (record.state, record.slurm_job_id) == ("FAILED", None)
    assert "never given to Slurm" in record.reason


def test_a_number_that_is_another_job_s_now_is_not_believed(
    job: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.forget()
    slurm.add(101, "RUNNING", "beowulf:9:key")
    grow_old(job)
    assert record_of(job, Slurm()).state == "FAILED"


def test_many_jobs_are_asked_about_once(job: JobDirectory, slurm: FakeSlurm) -> None:
    assert len(records_of([job] * 5)) == 5
    assert len(slurm.calls("squeue")) == 1

"""Jobs are ended by asking their supervisor, and through Slurm where that does not do."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import BeowulfError, JobNotFound
from beowulf.head import cancelling, endings
from beowulf.head.cancelling import cancel
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from tests.unit.head.conftest import Client

if TYPE_CHECKING:
    from tests.unit.head.conftest import FakeSlurm


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "LAST_WORDS_S", 0.0)
    monkeypatch.setattr(cancelling, "ASK_S", 0.5)
    monkeypatch.setattr(cancelling, "SLURM_S", 0.5)
    monkeypatch.setattr(cancelling, "POLL_S", 0.02)


def cancelled(*job_ids: str) -> list[tuple[str, str]]:
    client = Client()
    cancel(client.peer(), {"ids": list(job_ids)})
    told = client.told[-1]
    return [(job["state"], job["reason"]) for job in told.document["jobs"]]


def answer_request(job: JobDirectory) -> threading.Timer:
    """End the job as its supervisor does when it sees the request."""

    def see() -> None:
        while not job.cancel_request.exists():
            threading.Event().wait(0.01)
        record_event(job, "ended", state="CANCELLED", reason="by request", exit_code=143)
        job.exit_code.write_text("143\n")

    timer = threading.Timer(0, see)
    timer.start()
    return timer


def test_a_supervisor_ends_its_job_itself(running: JobDirectory, slurm: FakeSlurm) -> None:
    timer = answer_request(running)
    assert cancelled("1") == [("CANCELLED", "by request")]
    timer.join()
    assert slurm.calls("scancel") == []


def test_a_job_that_waits_leaves_the_queue(queued: JobDirectory, slurm: FakeSlurm) -> None:
    assert cancelled("1") == [("CANCELLED", "cancelled by its owner")]
    assert slurm.calls("scancel") == [["101"]]
    assert queued.exit_code.read_text() == "143\n"


def test_slurm_ends_a_job_whose_supervisor_is_silent(
    running: JobDirectory, slurm: FakeSlurm
) -> None:
    ((state, _),) = cancelled("1")
    assert state == "CANCELLED"
    assert slurm.calls("scancel") == [["101"]]
    assert running.exit_code.read_text() == "143\n"


def test_a_job_that_not_even_slurm_can_end_is_named(
    running: JobDirectory, slurm: FakeSlurm
) -> None:
    del running
    (slurm.state.parent / "commands" / "scancel").write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(BeowulfError, match=r"job 1: still there .* scontrol show job 101"):
        cancelled("1")


def test_a_job_that_is_over_stays_as_it_is(running: JobDirectory, slurm: FakeSlurm) -> None:
    record_event(running, "ended", state="FAILED", reason="rank 0 failed", exit_code=7)
    running.exit_code.write_text("7\n")
    assert cancelled("1") == [("FAILED", "rank 0 failed")]
    assert slurm.calls("scancel") == []
    assert not running.cancel_request.exists()


def test_a_wrong_id_among_right_ones_cancels_nothing(running: JobDirectory) -> None:
    with pytest.raises(JobNotFound, match="nothing was cancelled"):
        cancelled("1", "7")
    assert not running.cancel_request.exists()


def test_cancelling_twice_is_no_fault(queued: JobDirectory) -> None:
    del queued
    assert cancelled("1") == cancelled("1")


def test_many_jobs_leave_the_queue_with_one_command(queued: JobDirectory, slurm: FakeSlurm) -> None:
    more(queued, slurm, "PENDING", 10)
    ids = [str(number) for number in range(1, 12)]
    assert cancelled(*ids) == [("CANCELLED", "cancelled by its owner")] * 11
    assert len(slurm.calls("scancel")) == 1
    assert len(slurm.calls("squeue")) <= 3


def test_many_silent_jobs_are_ended_together_with_signs_of_life(
    running: JobDirectory, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "SIGN_OF_LIFE_S", 0.0)
    more(running, slurm, "RUNNING", 10)
    client = Client()
    cancel(client.peer(), {"ids": [str(number) for number in range(1, 12)]})
    *signs, last = [frame.document for frame in client.told]
    assert signs
    assert len(signs[0]["waiting"]) == 11
    assert {job["state"] for job in last["jobs"]} == {"CANCELLED"}
    assert len(slurm.calls("scancel")) == 1
    assert len(slurm.calls("scancel")[0]) == 11


def test_a_job_whose_number_was_never_written_is_ended_too(
    queued: JobDirectory, slurm: FakeSlurm
) -> None:
    queued.slurm_job_id.unlink()
    assert cancelled("1") == [("CANCELLED", "cancelled by its owner")]
    assert slurm.calls("scancel") == [["101"]]


def test_both_slurm_jobs_of_one_directory_are_ended(
    running: JobDirectory, slurm: FakeSlurm
) -> None:
    running.claim(1).write_text("101\n")
    slurm.add(102, "PENDING", "beowulf:1:key")
    timer = answer_request(running)
    assert cancelled("1") == [("CANCELLED", "by request")]
    timer.join()
    assert slurm.calls("scancel") == [["102"]], "the one that runs is asked by its file"


def test_the_job_of_another_with_this_number_is_left_alone(
    running: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.forget()
    slurm.add(101, "RUNNING", "beowulf:7:key", "node1")
    ((state, _),) = cancelled("1")
    assert state == "CANCELLED"
    assert slurm.calls("scancel") == []
    assert running.cancel_request.exists()


def test_a_job_that_cannot_be_asked_is_ended_by_slurm_at_once(
    running: JobDirectory, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "ASK_S", 60.0)
    running.cancel_request.symlink_to("/nowhere/at/all")  # as a full disk does, it refuses
    ((state, _),) = cancelled("1")
    assert state == "CANCELLED"
    assert slurm.calls("scancel") == [["101"]]


def test_a_silent_slurm_is_named_and_the_request_stays(
    running: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.answer("squeue", status=1, errors="Unable to contact slurm controller\n")
    with pytest.raises(BeowulfError, match=r"controller does not answer.*job 1: asked to end"):
        cancelled("1")
    assert running.cancel_request.exists()


def more(job: JobDirectory, slurm: FakeSlurm, state: str, count: int) -> None:
    """Make ``count`` jobs more that are like this one."""
    for number in range(2, count + 2):
        one = JobDirectory(job.path.parent / str(number))
        shutil.copytree(job.path, one.path)
        one.slurm_job_id.write_text(f"{number + 100}\n")
        slurm.add(number + 100, state, f"beowulf:{number}:key", "node1")

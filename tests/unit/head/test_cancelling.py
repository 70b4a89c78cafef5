"""Jobs are ended by asking their supervisor, and through Slurm where that does not do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import BeowulfError, JobNotFound
from beowulf.head import cancelling, records
from beowulf.head.cancelling import cancel
from beowulf.job.events import record_event
from tests.unit.head.conftest import Client

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory
    from tests.unit.head.conftest import FakeSlurm


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LAST_WORDS_S", 0.0)
    monkeypatch.setattr(cancelling, "ASK_S", 0.5)
    monkeypatch.setattr(cancelling, "SLURM_S", 0.5)
    monkeypatch.setattr(cancelling, "POLL_S", 0.02)


def cancelled(*job_ids: str) -> list[tuple[str, str]]:
    client = Client()
    cancel(client.peer(), {"ids": list(job_ids)})
    (told,) = client.told
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

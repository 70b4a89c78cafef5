"""A job that ended early is given to Slurm again; until Slurm has it, it stays what it was."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.errors import BeowulfError, ConnectionLost, InvalidInput, LaunchError
from beowulf.head import resumption, submission
from beowulf.head.frames import Frame
from beowulf.head.records import Slurm, record_of
from beowulf.job.events import record_event
from tests.unit.head.conftest import Client

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory
    from tests.unit.head.conftest import FakeSlurm

KEY = "0123456789abcdef0123456789abcdef"
SCRIPT = f"#!/bin/bash\n#SBATCH --comment=beowulf:@JOB_ID@:{KEY}\n"
PARTS = Frame({"spec": 'name = "again"\n', "script": SCRIPT, "ranks": 3})
SILENCE = "Unable to contact slurm controller\n"


def resume(*sent: Frame, key: str = KEY) -> Client:
    client = Client(list(sent))
    resumption.resume(client.peer(), {"id": "1", "key": key})
    return client


@pytest.fixture
def cancelled(queued: JobDirectory, slurm: FakeSlurm) -> JobDirectory:
    """A job that was cancelled while it ran."""
    slurm.set(101, "CANCELLED")
    queued.spec.write_text('name = "digits"\n')
    queued.batch_script.write_text("#!/bin/bash\n")
    queued.cancel_request.touch()
    queued.heartbeat(0).touch()
    record_event(queued, "ended", state="CANCELLED", reason="by request", exit_code=143)
    queued.exit_code.write_text("143\n")
    return queued


def is_as_it_was(job: JobDirectory) -> bool:
    record = record_of(job, Slurm())
    kept = job.exit_code.exists() and job.cancel_request.exists() and job.heartbeat(0).exists()
    return kept and (record.state, record.reason, record.attempt) == ("CANCELLED", "by request", 1)


def submissions(slurm: FakeSlurm) -> int:
    return len([words for words in slurm.calls("sbatch") if "--parsable" in words])


def test_a_job_goes_on_under_a_new_number(cancelled: JobDirectory, slurm: FakeSlurm) -> None:
    first, last = resume(PARTS).told
    assert first.data == b'name = "digits"\n'
    assert first.document["attempt"] == 2
    job = last.document["job"]
    assert (job["id"], job["state"], job["attempt"], job["ranks"]) == ("1", "QUEUED", 2, 3)
    assert job["slurm_job_id"] == int(cancelled.slurm_job_id.read_text()) != 101
    assert cancelled.batch_script.read_text() == SCRIPT.replace("@JOB_ID@", "1")
    assert cancelled.spec.read_text() == 'name = "again"\n'
    for forgotten in (cancelled.exit_code, cancelled.cancel_request, cancelled.heartbeat(0)):
        assert not forgotten.exists()
    assert slurm.calls("sbatch")[0][0] == "--test-only"


def test_an_attempt_that_was_begun_but_never_told_of_is_not_used_again(
    cancelled: JobDirectory,
) -> None:
    cancelled.claim(2).write_text("101\n")  # its host was lost a moment later
    told = resume(PARTS).told
    assert told[0].document["attempt"] == 3
    assert told[-1].document["job"]["attempt"] == 3


def test_what_slurm_would_refuse_changes_nothing(cancelled: JobDirectory, slurm: FakeSlurm) -> None:
    slurm.answer("test", status=1, errors="Requested node configuration is not available\n")
    with pytest.raises(InvalidInput, match=r"^resources: "):
        resume(PARTS)
    assert is_as_it_was(cancelled)
    assert cancelled.spec.read_text() == 'name = "digits"\n'
    assert not list(cancelled.path.glob(".trial*"))
    slurm.answer("test")
    assert resume(PARTS).told[-1].document["job"]["attempt"] == 2


@pytest.mark.parametrize("command", ["sinfo", "test"])
def test_while_slurm_is_silent_nothing_changes(
    cancelled: JobDirectory, slurm: FakeSlurm, command: str
) -> None:
    slurm.answer(command, status=1, errors=SILENCE)
    with pytest.raises(BeowulfError, match="nothing was changed: resume again"):
        resume(PARTS)
    assert is_as_it_was(cancelled)


def test_a_client_that_is_cut_off_changes_nothing(cancelled: JobDirectory) -> None:
    with pytest.raises(ConnectionLost):
        resume()
    assert is_as_it_was(cancelled)
    assert resume(PARTS, key="f" * 32).told[-1].document["job"]["attempt"] == 2


def test_a_job_that_slurm_refused_after_all_can_be_resumed(
    cancelled: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.answer("sbatch", status=1, errors="Requested node configuration is not available\n")
    with pytest.raises(InvalidInput):
        resume(PARTS)
    record = record_of(cancelled, Slurm())
    assert record.state == "FAILED"
    assert "refused" in record.reason
    slurm.answer("sbatch")
    assert resume(PARTS, key="f" * 32).told[-1].document["job"]["state"] == "QUEUED"


def test_a_job_that_was_never_given_to_slurm_can_be_resumed(
    queued: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.forget()
    queued.slurm_job_id.unlink()
    queued.spec.write_text("")
    assert resume(PARTS).told[-1].document["job"]["attempt"] == 2


def test_the_same_request_twice_starts_it_once(cancelled: JobDirectory, slurm: FakeSlurm) -> None:
    resume(PARTS)
    (told,) = resume().told
    number = int(cancelled.slurm_job_id.read_text())
    assert (told.document["job"]["attempt"], told.document["job"]["slurm_job_id"]) == (2, number)
    assert submissions(slurm) == 1


def test_a_request_that_is_repeated_meanwhile_waits_for_the_first(
    cancelled: JobDirectory, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    try_script = submission.try_script

    def slowly(job: JobDirectory, script: str) -> None:
        begun.set()
        go_on.wait(60)
        try_script(job, script)

    monkeypatch.setattr(resumption, "try_script", slowly)
    first = threading.Thread(target=resume, args=(PARTS,))
    told: list[Any] = []
    second = threading.Thread(target=lambda: told.extend(resume().told))
    first.start()
    begun.wait(60)
    second.start()
    second.join(0.3)
    assert second.is_alive(), "it waits"
    with pytest.raises(InvalidInput, match="being given to Slurm right now"):
        resume(PARTS, key="f" * 32)
    go_on.set()
    first.join(60)
    second.join(60)
    assert [frame.document["job"]["attempt"] for frame in told] == [2]
    assert submissions(slurm) == 1
    assert record_of(cancelled, Slurm()).state == "QUEUED"


def test_an_answer_of_slurm_s_that_was_lost_is_found_by_the_next_try(
    cancelled: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.answer("sbatch", status=1, taken=True, errors=SILENCE)
    slurm.answer("squeue", status=1, errors=SILENCE)
    with pytest.raises(LaunchError, match="whether it is in the queue is not known"):
        resume(PARTS)
    slurm.answer("squeue")
    (told,) = resume().told
    assert told.document["job"]["state"] == "QUEUED"
    assert told.document["job"]["slurm_job_id"] == int(cancelled.slurm_job_id.read_text())
    assert submissions(slurm) == 1


@pytest.mark.parametrize(
    ("state", "message"), [("COMPLETED", "has completed"), ("RUNNING", "is still running")]
)
def test_what_cannot_be_resumed(
    running: JobDirectory, slurm: FakeSlurm, state: str, message: str
) -> None:
    if state == "COMPLETED":
        record_event(running, "ended", state=state, reason="", exit_code=0)
        running.exit_code.write_text("0\n")
    with pytest.raises(InvalidInput, match=message):
        resume(PARTS)
    assert submissions(slurm) == 0


def test_a_job_of_which_nothing_is_known_is_left_alone(
    running: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.answer("squeue", status=1, errors=SILENCE)
    with pytest.raises(BeowulfError, match="nothing was changed"):
        resume(PARTS)
    assert running.slurm_job_id.exists()

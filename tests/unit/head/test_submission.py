"""A job is taken from a client and given to Slurm, once, however often it is asked."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from beowulf import durable
from beowulf.durable import read_json_lines
from beowulf.errors import BeowulfError, ConnectionLost, InvalidInput, LaunchError
from beowulf.head import submission
from beowulf.head.frames import Frame
from beowulf.head.records import Slurm, job_root, record_of
from tests.unit.head.conftest import Client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.head.conftest import FakeSlurm

TRAIN = b"print('hello')\n"
DIGEST = hashlib.sha256(TRAIN).hexdigest()
KEY = "0123456789abcdef0123456789abcdef"
SCRIPT = "#!/bin/bash\n#SBATCH --chdir=/jobs/@JOB_ID@\n#SBATCH --comment=beowulf:@JOB_ID@:{key}\n"


def request(key: str = KEY, **changes: Any) -> dict[str, Any]:
    entries = [["train.py", "file", 0o644, 10**18, DIGEST]]
    return {
        "key": key, "name": "digits", "work_directory": "/home/me", "entries": entries, **changes
    }  # fmt: skip


def last_words(key: str = KEY) -> Frame:
    script = SCRIPT.format(key=key)
    return Frame({"spec": 'name = "digits"\n', "script": script, "ranks": 4}, b"python\0train.py\0")


def file() -> Frame:
    return Frame({"file": DIGEST, "more": False}, TRAIN)


def submit(*sent: Frame, **changes: Any) -> Client:
    client = Client(list(sent))
    submission.submit(client.peer(), request(**changes))
    return client


@pytest.fixture(autouse=True)
def _head(home: Path, slurm: FakeSlurm) -> None:
    """Every test here needs a home on the head and a Slurm."""


def test_a_job_gets_a_whole_directory_and_a_place_in_the_queue(
    home: Path, slurm: FakeSlurm
) -> None:
    first, last = submit(file(), last_words()).told
    jobs = home / "beowulf/jobs"
    assert first.document["missing"] == [DIGEST]
    assert first.document["jobs"] == str(jobs)
    assert first.document["nodes_up"] == 2
    job = last.document["job"]
    assert (job["id"], job["name"], job["state"], job["ranks"]) == ("1", "digits", "QUEUED", 4)
    assert job["directory"] == str(jobs / "1")
    assert job["slurm_job_id"] == 101
    assert (jobs / "1/code/train.py").read_bytes() == TRAIN
    assert (jobs / "1/argv").read_bytes() == b"python\0train.py\0"
    assert (jobs / "1/batch.sh").read_text() == SCRIPT.format(key=KEY).replace("@JOB_ID@", "1")
    assert (jobs / "1/slurm_job_id").read_text() == "101\n"
    assert slurm.calls("sbatch")[-1] == ["--parsable", str(jobs / "1/batch.sh")]
    assert not (jobs / "1/trial.sh").exists()
    assert slurm.calls("squeue") == [], "one question less while the client waits"


def test_what_the_head_has_does_not_travel_again() -> None:
    submit(file(), last_words())
    first, last = submit(last_words("f" * 32), key="f" * 32).told
    assert first.document["missing"] == []
    assert last.document["job"]["id"] == "2"


def test_the_same_key_gives_the_same_job(slurm: FakeSlurm) -> None:
    submit(file(), last_words())
    (told,) = submit().told
    assert told.document["job"]["id"] == "1"
    assert len([words for words in slurm.calls("sbatch") if "--parsable" in words]) == 1


LOST_ANSWERS = [
    {"silent": True},
    {"status": 1, "taken": True, "errors": "sbatch: error: Zero Bytes were transmitted\n"},
    {"status": 1, "taken": True, "errors": "Unable to contact slurm controller (connect failure)"},
]


@pytest.mark.parametrize("told", LOST_ANSWERS)
def test_a_job_that_slurm_took_without_an_answer_is_found_in_the_queue(
    slurm: FakeSlurm, told: dict[str, Any]
) -> None:
    slurm.answer("sbatch", **told)
    last = submit(file(), last_words()).told[-1].document["job"]
    assert (last["id"], last["state"], last["slurm_job_id"]) == ("1", "QUEUED", 101)


@pytest.mark.parametrize("told", LOST_ANSWERS)
def test_a_job_whose_number_was_lost_is_kept_and_found_later(
    slurm: FakeSlurm, told: dict[str, Any]
) -> None:
    slurm.answer("sbatch", **told)
    slurm.answer("squeue", status=1, errors="Unable to contact slurm controller\n")
    with pytest.raises(LaunchError, match="whether it is in the queue is not known"):
        submit(file(), last_words())
    assert job_root().ids() == ["1"]
    slurm.answer("squeue")
    assert record_of(job_root().find("1"), Slurm()).slurm_job_id == 101, "for every reader"
    (again,) = submit().told
    assert (again.document["job"]["id"], again.document["job"]["slurm_job_id"]) == ("1", 101)
    assert len([words for words in slurm.calls("sbatch") if "--parsable" in words]) == 1


def test_a_failure_that_is_no_known_refusal_removes_nothing(slurm: FakeSlurm) -> None:
    slurm.answer("sbatch", status=1, errors="sbatch: error: the moon is in the wrong house\n")
    with pytest.raises(LaunchError, match=r"job 1: .*moon.* is kept"):
        submit(file(), last_words())
    assert (job_root().find("1").code / "train.py").exists()


def test_a_disk_that_is_full_after_slurm_took_the_job_says_so(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = durable.write_file

    def write_or_not(path: Path, data: bytes) -> None:
        if path.name == "slurm_job_id":
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(path))
        write(path, data)

    monkeypatch.setattr(submission, "write_file", write_or_not)
    with pytest.raises(LaunchError, match=r"job 1: Slurm has it, as 101, .*quota exceeded"):
        submit(file(), last_words())
    record = record_of(job_root().find("1"), Slurm())
    assert (record.state, record.slurm_job_id) == ("QUEUED", 101)
    (again,) = submit().told
    assert again.document["job"]["id"] == "1"
    assert len([words for words in slurm.calls("sbatch") if "--parsable" in words]) == 1


def test_a_key_is_another_s_when_the_job_does_not_say_so(home: Path) -> None:
    submit(file(), last_words())
    shutil.rmtree(home / "beowulf/jobs/1")
    submit(last_words("f" * 32), key="f" * 32)
    (home / f"beowulf/jobs/.keys/{KEY}").write_text("2")
    assert submit(last_words()).told[-1].document["job"]["id"] == "3"


def test_the_id_of_a_job_that_was_deleted_is_not_given_again(home: Path) -> None:
    submit(file(), last_words())
    shutil.rmtree(home / "beowulf/jobs/1")
    assert submit(last_words("f" * 32), key="f" * 32).told[-1].document["job"]["id"] == "2"


def test_a_job_can_be_found_by_its_key_as_soon_as_it_can_be_seen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submission, "give_to_slurm", die)  # killed right after publication
    with pytest.raises(KeyboardInterrupt):
        submit(file(), last_words())
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(home))
    assert (home / "beowulf/jobs/1/batch.sh").exists()
    assert (home / f"beowulf/jobs/.keys/{KEY}").read_text() == "1"


def test_a_job_that_slurm_did_not_get_is_given_to_it_the_next_time(slurm: FakeSlurm) -> None:
    silence = "sbatch: error: Batch job submission failed: Unable to contact slurm controller\n"
    slurm.answer("sbatch", status=1, errors=silence)
    with pytest.raises(LaunchError, match=r"job 1: .* the job is kept"):
        submit(file(), last_words())
    slurm.answer("sbatch")
    (told,) = submit().told
    assert told.document["job"]["state"] == "QUEUED"
    assert job_root().ids() == ["1"]


@pytest.mark.parametrize("command", ["test", "sbatch"])
def test_what_slurm_refuses_leaves_nothing(slurm: FakeSlurm, home: Path, command: str) -> None:
    said = "Batch job submission failed: Requested node configuration is not available"
    slurm.answer(command, status=1, errors=f"sbatch: error: {said}\n")
    with pytest.raises(InvalidInput):
        submit(file(), last_words())
    assert job_root().ids() == []
    assert list((home / "beowulf/jobs").glob(".staging*")) == []
    slurm.answer(command)
    assert submit(last_words()).told[-1].document["job"]["state"] == "QUEUED"
    assert len(job_root().ids()) == 1


def test_a_controller_that_is_down_keeps_nothing(slurm: FakeSlurm) -> None:
    slurm.answer("test", status=1, errors="Unable to contact slurm controller\n")
    with pytest.raises(BeowulfError, match="nothing was kept: submit again"):
        submit(file(), last_words())
    assert job_root().ids() == []


@pytest.mark.parametrize("sent", [(), (file(),), (Frame({"file": DIGEST, "more": True}, b"pri"),)])
def test_a_client_that_is_cut_off_leaves_no_job(sent: tuple[Frame, ...], slurm: FakeSlurm) -> None:
    with pytest.raises(ConnectionLost):
        submit(*sent)
    assert job_root().ids() == []
    assert slurm.calls("sbatch") == []


def test_a_file_in_pieces(home: Path) -> None:
    pieces = [
        Frame({"file": DIGEST, "more": True}, TRAIN[:4]),
        Frame({"file": DIGEST, "more": False}, TRAIN[4:]),
    ]
    submit(*pieces, last_words())
    assert (home / "beowulf/jobs/1/code/train.py").read_bytes() == TRAIN


def test_a_head_without_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEOWULF_CLUSTER_PYTHON", "/nowhere/python")
    with pytest.raises(InvalidInput, match=r"no /nowhere/python on the head; site\.yml makes it"):
        submit(file(), last_words())


@pytest.mark.parametrize("key", ["", "../../x", "0" * 31, None])
def test_a_key_that_is_none(key: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^key: "):
        submit(key=key)


def test_the_story_begins_with_the_submission(home: Path) -> None:
    submit(file(), last_words())
    (event,) = read_json_lines(home / "beowulf/jobs/1/events.jsonl")
    assert (event["event"], event["attempt"], event["work_directory"]) == (
        "submitted", 1, "/home/me",
    )  # fmt: skip


def test_nobody_else_can_read_a_job(home: Path) -> None:
    before = os.umask(0o022)
    try:
        submit(file(), last_words())
    finally:
        os.umask(before)
    for path in (home / "beowulf/jobs", home / "beowulf/jobs/1", home / "beowulf/store"):
        assert path.stat().st_mode & 0o077 == 0, path

"""A client is told what a job prints and how it is, until it is over or the client has gone."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import JobNotFound
from beowulf.head import endings, following
from beowulf.head.following import Watch, follow, wait
from beowulf.head.records import job_root
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from tests.unit.head.conftest import Client, grow_old

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.head.conftest import FakeSlurm


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "LAST_WORDS_S", 0.0)
    monkeypatch.setattr(following, "LOG_POLL_S", 0.01)
    monkeypatch.setattr(following, "RECORD_EVERY_S", 0.02)
    monkeypatch.setattr(following, "client_listens", lambda pause_s: not _pause(pause_s))


def _pause(pause_s: float) -> bool:
    return threading.Event().wait(pause_s)


def end(job: JobDirectory, state: str = "COMPLETED", exit_code: int = 0) -> None:
    record_event(job, "ended", state=state, reason="", exit_code=exit_code)
    job.exit_code.write_text(f"{exit_code}\n")


@contextlib.contextmanager
def once_told(client: Client, act: Callable[[], None]) -> Iterator[None]:
    """Do something as soon as the client was told anything, while the block waits for it."""

    def wait_and_act() -> None:
        for _ in range(6000):
            if client.told:
                act()
                return
            time.sleep(0.01)

    acting = threading.Thread(target=wait_and_act)
    acting.start()
    yield
    acting.join()


def test_a_log_is_told_from_a_byte_on_and_then_the_end(running: JobDirectory) -> None:
    running.log.write_bytes(b"before\nafter\xff\n")

    def print_more() -> None:
        with running.log.open("ab") as file:
            file.write(b"last words\n")
        end(running)

    client = Client()
    with once_told(client, print_more):
        follow(client.peer(), {"id": "1", "offset": 7})
    told = client.told
    assert b"".join(frame.data for frame in told) == b"after\xff\nlast words\n"
    states = [frame.document["job"]["state"] for frame in told if "job" in frame.document]
    assert (states[0], states[-1]) == ("RUNNING", "COMPLETED")
    assert told[-2].document["offset"] == running.log.stat().st_size
    assert told[-1].document == {"over": True}


def test_following_ends_when_the_client_has_gone(
    running: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.log.write_bytes(b"something\n")
    listening = iter([True, False])
    monkeypatch.setattr(following, "client_listens", lambda _pause_s: next(listening))
    client = Client()
    follow(client.peer(), {"id": "1", "offset": 0})
    assert [frame.data for frame in client.told] == [b"something\n"]


def test_waiting_tells_each_job_as_it_ends(running: JobDirectory) -> None:
    client = Client()
    with once_told(client, lambda: end(running, "FAILED", 7)):
        wait(client.peer(), {"ids": ["1"]})
    first, *_, job, over = (frame.document for frame in client.told)
    assert first["waiting"]["state"] == "RUNNING"
    assert (job["job"]["state"], job["job"]["exit_code"]) == ("FAILED", 7)
    assert over == {"over": True}


@pytest.mark.parametrize("job_id", ["2", "../1", "", "1/../1", "x" * 999])
def test_a_job_that_there_is_not(running: JobDirectory, job_id: str) -> None:
    del running
    with pytest.raises(JobNotFound):
        follow(Client().peer(), {"id": job_id, "offset": 0})
    with pytest.raises(JobNotFound):
        wait(Client().peer(), {"ids": ["1", job_id]})


def test_slurm_is_asked_seldom_about_a_job_that_goes_on(
    running: JobDirectory, slurm: FakeSlurm
) -> None:
    watched = Watch([job_root().find("1")])
    assert {watched.records()["1"].state for _ in range(50)} == {"RUNNING"}
    assert len(slurm.calls("squeue")) == 1
    end(running)
    assert watched.records()["1"].state == "COMPLETED"
    assert len(slurm.calls("squeue")) == 1, "its own files said so"


def test_slurm_is_asked_one_question_for_all_jobs_that_are_waited_for(
    running: JobDirectory, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LEAST_PAUSE_S", 1e9)
    monkeypatch.setattr(following, "MOST_PAUSE_S", 1e9)
    jobs = more(running, slurm, 20)

    def end_all() -> None:
        for job in jobs:
            end(job)

    timer = threading.Timer(0.3, end_all)
    timer.start()
    client = Client()
    wait(client.peer(), {"ids": [job.job_id for job in jobs]})
    timer.join()
    over = [frame.document["job"]["state"] for frame in client.told if "job" in frame.document]
    assert over == ["COMPLETED"] * 21
    assert len(slurm.calls("squeue")) == 1


def test_jobs_that_only_slurm_knows_the_end_of_are_waited_for_together(
    running: JobDirectory, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LEAST_PAUSE_S", 0.05)
    jobs = more(running, slurm, 5)
    client = Client()
    waiting = threading.Thread(
        target=wait, args=(client.peer(), {"ids": [job.job_id for job in jobs]})
    )
    waiting.start()
    for number in range(101, 107):
        slurm.set(number, "TIMEOUT")
    waiting.join(60)
    assert [frame.document["job"]["state"] for frame in client.told if "job" in frame.document] == [
        "TIMEOUT"
    ] * 6


def test_a_job_that_slurm_has_forgotten_is_not_waited_for_for_ever(
    running: JobDirectory, slurm: FakeSlurm
) -> None:
    slurm.forget()
    grow_old(running)
    client = Client()
    wait(client.peer(), {"ids": ["1"]})
    follow(client.peer(), {"id": "1", "offset": 0})
    assert client.told[0].document["job"]["state"] == "FAILED"


def more(job: JobDirectory, slurm: FakeSlurm, count: int) -> list[JobDirectory]:
    """Return this job and ``count`` others that run like it."""
    found = [JobDirectory(job.path.parent / str(number)) for number in range(2, count + 2)]
    for number, one in enumerate(found, 102):
        shutil.copytree(job.path, one.path)
        one.slurm_job_id.write_text(f"{number}\n")
        slurm.add(number, "RUNNING", f"beowulf:{one.job_id}:key", "node[1-4]")
    return [job, *found]

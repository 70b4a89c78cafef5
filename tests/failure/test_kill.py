"""Whoever is killed, the job goes on from its checkpoint or says so, and nothing keeps running."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from beowulf.job.heartbeat import read_heartbeats
from tests.conftest import Beowulf, processes_of_jobs_below
from tests.failure.conftest import TALK, Job, job_file, write_script

Submit = Callable[..., Job]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def assert_nothing_runs(job: Job, state_home: Path) -> None:
    job.wait_until(lambda: not processes_of_jobs_below(state_home))


def supervisor_of(job: Job) -> psutil.Process:
    for process in psutil.process_iter():
        try:
            if str(job.directory.path) in process.cmdline():
                return process
        except psutil.Error:
            continue
    raise AssertionError("the job has no supervisor")


def wait_for_attempt(job: Job, attempt: int) -> None:
    """Wait until every rank of an attempt runs."""

    def runs() -> bool:
        status = job.status()
        beats = read_heartbeats(job.directory, status["ranks"], attempt)
        return bool(status["attempt"] == attempt and len(beats) == status["ranks"])

    job.wait_until(runs)


def test_killed_rank_fails_the_job_and_is_named(
    submit: Submit, tmp_path: Path, state_home: Path, beowulf: Beowulf
) -> None:
    job = submit(job_file(write_script(tmp_path, TALK), ranks=3, retries=0))
    wait_for_attempt(job, 1)
    heartbeats = read_heartbeats(job.directory, 3)
    killed_at = time.monotonic()
    kill(heartbeats[1].pid)
    status = job.wait_until_over()
    print(f"FAILED {time.monotonic() - killed_at:.2f} s after kill -9")
    assert status["state"] == "FAILED"
    assert status["exit_code"] == 128 + signal.SIGKILL
    host = heartbeats[1].host
    assert status["reason"] == f"rank 1 on {host} was killed by signal 9 (SIGKILL)"
    assert "rank 1" in beowulf("status", job.id).stdout
    assert_nothing_runs(job, state_home)


def test_killed_watcher_is_named_too(submit: Submit, tmp_path: Path, state_home: Path) -> None:
    job = submit(job_file(write_script(tmp_path, TALK), ranks=2, retries=0))
    wait_for_attempt(job, 1)
    script = psutil.Process(read_heartbeats(job.directory, 2)[1].pid)
    kill(script.ppid())
    status = job.wait_until_over()
    assert status["state"] == "FAILED"
    assert "rank 1" in status["reason"]
    assert status["exit_code"] not in (None, 0)
    assert_nothing_runs(job, state_home)


def test_killed_launcher_fails_the_job(submit: Submit, slow_script: Path, state_home: Path) -> None:
    job = submit(job_file(slow_script, ranks=2, retries=0))
    watcher = psutil.Process(psutil.Process(job.wait_for_training()[0].pid).ppid())
    kill(watcher.ppid())
    status = job.wait_until_over()
    assert status["state"] == "FAILED"
    assert status["exit_code"] != 0
    assert_nothing_runs(job, state_home)


def test_after_a_killed_launcher_the_job_goes_on_from_its_checkpoint(
    submit: Submit, slow_script: Path, state_home: Path, beowulf: Beowulf
) -> None:
    job = submit(slow_script, "--ranks", "2")
    watcher = psutil.Process(psutil.Process(job.wait_for_training(step=12)[0].pid).ppid())
    kill(watcher.ppid())
    wait_for_attempt(job, 2)
    before = len(job.metrics())
    job.wait_until(lambda: len(job.metrics()) > before + 5)
    assert job.status()["state"] == "RUNNING"
    assert beowulf("cancel", job.id).returncode == 0
    (again,) = job.events("restarting")
    assert again["attempt"] == 2
    assert again["left_out"] == []
    assert again["step"] >= 10
    steps = [line["step"] for line in job.metrics()]
    assert steps == list(range(1, len(steps) + 1))
    assert_nothing_runs(job, state_home)


def test_ranks_that_cannot_carry_on_are_started_again_as_often_as_the_job_file_says(
    submit: Submit, tmp_path: Path, state_home: Path
) -> None:
    job = submit(job_file(write_script(tmp_path, TALK), ranks=2, retries=2))
    for attempt in (1, 2, 3):
        wait_for_attempt(job, attempt)
        kill(read_heartbeats(job.directory, 2, attempt)[1].pid)
    status = job.wait_until_over()
    assert (status["state"], status["attempt"]) == ("FAILED", 3)
    assert "rank 1" in status["reason"]
    assert "it had been started again 2 times, which is the limit" in status["reason"]
    assert status["exit_code"] == 128 + signal.SIGKILL
    assert [event["attempt"] for event in job.events("restarting")] == [2, 3]
    assert_nothing_runs(job, state_home)


def test_a_killed_launcher_leaves_nothing_that_a_later_one_stumbles_over(
    environment: dict[str, str], submit: Submit, slow_script: Path, state_home: Path, tmp_path: Path
) -> None:
    """Its directory is named by its process number, which a later launcher may get again."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment["TMPDIR"] = str(temporary)
    job = submit(job_file(slow_script, ranks=2, retries=0))
    watcher = psutil.Process(psutil.Process(job.wait_for_training()[0].pid).ppid())
    (sessions,) = temporary.glob("beowulf-*")
    assert list(sessions.glob(f"ompi.{watcher.ppid()}")), "Open MPI keeps its directory elsewhere"
    kill(watcher.ppid())
    job.wait_until_over()
    assert_nothing_runs(job, state_home)
    job.wait_until(lambda: not list(temporary.glob("*ompi*")) and not sessions.exists())


def test_killed_supervisor_takes_its_job_along_and_the_job_can_be_resumed(
    submit: Submit, slow_script: Path, state_home: Path, beowulf: Beowulf
) -> None:
    job = submit(slow_script, "--ranks", "2")
    job.wait_for_training(step=7)
    kill(supervisor_of(job).pid)
    status = job.wait_until_over()
    assert status["state"] == "FAILED"
    assert f"beowulf submit --resume {job.id}" in status["reason"]
    assert_nothing_runs(job, state_home)

    assert beowulf("submit", "--resume", job.id, "--detach").returncode == 0
    job.wait_until(lambda: job.status()["state"] == "RUNNING")
    job.wait_until(lambda: any(line["step"] > 7 for line in job.metrics()))
    assert beowulf("cancel", job.id).returncode == 0
    steps = [line["step"] for line in job.metrics()]
    assert steps == list(range(1, len(steps) + 1))
    assert job.status()["attempt"] >= 2  # more if it was started again meanwhile


def test_terminated_supervisor_cleans_up(
    submit: Submit, slow_script: Path, state_home: Path
) -> None:
    job = submit(slow_script, "--ranks", "2")
    job.wait_for_training()
    supervisor_of(job).terminate()
    assert job.wait_until_over()["state"] == "FAILED"
    assert_nothing_runs(job, state_home)

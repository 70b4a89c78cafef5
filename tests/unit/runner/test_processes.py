"""Every process of a job is found by what it inherited, and ended."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from beowulf.runner.processes import end_processes, find_processes

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.job.directory import JobDirectory

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
ORPHANING = f"""
import subprocess, sys
orphan = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], start_new_session=True)
print(orphan.pid, flush=True)
"""
WAIT_S = 60


def start(code: str, directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={"BEOWULF_JOB_DIR": str(directory)},
        stdin=subprocess.PIPE,  # its end would end who waits for a line
        stdout=subprocess.PIPE,
    )


def test_a_job_without_processes(job: JobDirectory) -> None:
    assert find_processes(job) == []
    assert end_processes(job, grace_s=60) == []


def test_a_process_of_another_job_is_left_alone(job: JobDirectory, tmp_path: Path) -> None:
    with start("input()", tmp_path / "jobs" / "77") as other:
        assert find_processes(job) == []
        assert end_processes(job, grace_s=0) == []
        assert other.poll() is None
        other.kill()


def test_a_process_that_does_as_asked(job: JobDirectory) -> None:
    with start("import time; print('ready', flush=True); time.sleep(600)", job.path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [found.pid for found in find_processes(job)] == [process.pid]
        assert end_processes(job, grace_s=WAIT_S) == []
        assert process.wait(WAIT_S) == -15


def test_a_process_that_does_not_listen_is_killed(job: JobDirectory) -> None:
    with start(STUBBORN, job.path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert end_processes(job, grace_s=0.2) == []
        assert process.wait(WAIT_S) == -9


def test_a_process_that_left_its_parent_and_its_session_is_found(job: JobDirectory) -> None:
    with start(ORPHANING, job.path) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        assert parent.stdout.readline() == b"ready\n"
        parent.wait(WAIT_S)
    assert [found.pid for found in find_processes(job)] == [orphan]
    assert end_processes(job, grace_s=0.2) == []
    assert find_processes(job) == []

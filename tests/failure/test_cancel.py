"""A cancel at any moment leaves no process behind and a record that is whole."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Beowulf, processes_of_jobs_below
from tests.failure.conftest import WAIT_S, Job, start_beowulf, write_script

Submit = Callable[..., Job]


# From before the supervisor is up to well into training.
@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.5])
def test_cancel_at_any_moment(
    submit: Submit, slow_script: Path, state_home: Path, beowulf: Beowulf, delay_s: float
) -> None:
    job = submit(slow_script, "--ranks", "2")
    time.sleep(delay_s)
    answer = beowulf("cancel", job.id)
    assert answer.stdout == f"{job.id} CANCELLED\n", answer.stderr
    assert processes_of_jobs_below(state_home) == []
    status = job.status()
    assert status["state"] == "CANCELLED"
    assert status["exit_code"] == 143
    assert job.directory.exit_code.read_text() == "143\n"
    assert not job.directory.done.exists()
    for line in job.directory.events.read_text().splitlines():
        json.loads(line)
    assert beowulf("wait", job.id).returncode == 143


def test_cancel_while_the_job_ends_never_contradicts_itself(
    submit: Submit, beowulf: Beowulf, tmp_path: Path
) -> None:
    """Whichever wins the race, state, marker and exit status agree."""
    script = write_script(tmp_path, "import time\ntime.sleep(0.2)\n")
    moments = random.Random(7)
    for _ in range(8):
        job = submit(script, "--ranks", "2")
        time.sleep(moments.uniform(0.0, 0.6))
        assert beowulf("cancel", job.id).returncode == 0
        status = job.status()
        finished = job.directory.done.exists()
        assert status["state"] == ("COMPLETED" if finished else "CANCELLED")
        assert status["exit_code"] == (0 if finished else 143)


def test_cancel_of_a_finished_job_changes_nothing(beowulf: Beowulf, tmp_path: Path) -> None:
    script = write_script(tmp_path, "print('quick')\n")
    assert beowulf("submit", script, "--ranks", "1").returncode == 0
    before = beowulf("status", "1", "--json").stdout
    answer = beowulf("cancel", "1")
    assert answer.stdout == "1 COMPLETED\n"
    assert beowulf("status", "1", "--json").stdout == before


def test_many_cancels_at_once(submit: Submit, slow_script: Path, beowulf: Beowulf) -> None:
    job = submit(slow_script, "--ranks", "2")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: beowulf("cancel", job.id), range(4)))
    assert [answer.stdout for answer in answers] == [f"{job.id} CANCELLED\n"] * 4


def test_ranks_that_ignore_termination_are_killed(
    submit: Submit, beowulf: Beowulf, tmp_path: Path, state_home: Path
) -> None:
    script = write_script(
        tmp_path,
        "import signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"  # leaves the rank's group
        "print('deaf', flush=True)\n"
        "time.sleep(600)\n",
    )
    job = submit(script, "--ranks", "2")
    job.wait_until(lambda: job.directory.log.read_text().count("deaf") == 2)
    assert beowulf("cancel", job.id).stdout == f"{job.id} CANCELLED\n"
    assert processes_of_jobs_below(state_home) == []


def test_time_limit_ends_the_job(beowulf: Beowulf, slow_script: Path, state_home: Path) -> None:
    answer = beowulf("submit", slow_script, "--ranks", "2", "--time-limit", "1s")
    assert answer.returncode == 124
    assert "TIMEOUT" in answer.stderr
    assert "ran longer than its time limit" in answer.stderr
    assert processes_of_jobs_below(state_home) == []


def test_submissions_at_the_same_moment_get_jobs_of_their_own(
    beowulf: Beowulf, environment: dict[str, str], tmp_path: Path
) -> None:
    script = write_script(tmp_path, "import os\nprint(os.environ['BEOWULF_JOB_DIR'])\n")
    started = [
        start_beowulf(environment, "submit", script, "--ranks", "1", stdout=subprocess.PIPE)
        for _ in range(8)
    ]
    directories = []
    for process in started:
        out, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        directories.append(out.decode().strip())
    jobs = json.loads(beowulf("jobs", "--json").stdout)["jobs"]
    assert sorted(directories) == sorted(job["directory"] for job in jobs)
    assert len(set(directories)) == 8
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    assert [job["id"] for job in jobs] == [str(number) for number in range(1, 9)]


def test_submit_killed_half_way_leaves_whole_records_only(
    beowulf: Beowulf, environment: dict[str, str], tmp_path: Path, state_home: Path
) -> None:
    script = write_script(tmp_path, "import time\ntime.sleep(300)\n")
    (script.parent / "data.bin").write_bytes(bytes(30_000_000))  # copying takes a moment
    moments = random.Random(11)
    for _ in range(10):
        process = start_beowulf(
            environment, "submit", script, "--ranks", "1",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moments.uniform(0.05, 0.5))
        process.kill()
        process.wait()
    jobs = json.loads(beowulf("jobs", "--json").stdout)["jobs"]
    for job in jobs:
        directory = Path(job["directory"])
        for name in ("job.toml", "argv", "batch.sh", "code/train.py", "code/data.bin"):
            assert (directory / name).exists()
        # Either its supervisor runs, or the record says that there is none.
        assert job["state"] in ("QUEUED", "STARTING", "RUNNING", "FAILED")
        assert beowulf("cancel", job["id"]).returncode == 0
    assert processes_of_jobs_below(state_home) == []

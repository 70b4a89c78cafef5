"""A supervisor that Slurm has started: however the job ends, it is written down and handed on.

Slurm's commands and mpirun are small scripts here; one rank needs no more.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beowulf.durable import write_file
from beowulf.job.directory import JobDirectory
from beowulf.job.events import read_events, record_event
from beowulf.runner.batch_script import render_slurm
from beowulf.runner.command import argument_vector
from beowulf.runner.spec import JobSpec, Resources, format_spec

WAIT_S = 60.0
# Leaves out mpirun's own options, and starts the one rank there is.
MPIRUN = """#!/bin/bash
while [ "$1" != "$TEST_PYTHON" ]; do shift; done
exec "$@"
"""
SCONTROL = "#!/bin/sh\n[ $1 = show ] && echo node1\n"
SINFO = "#!/bin/sh\necho 'node1 allocated'\n"
SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(120)\n"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Job:
    """One job directory, and what Slurm starts for it."""

    def __init__(self, root: Path) -> None:
        self.programs = root / "bin"
        self.programs.mkdir()
        self.directory = JobDirectory(root / "7")
        self.directory.path.mkdir()
        self.directory.code.mkdir()
        self.directory.heartbeats.mkdir()
        self.directory.log.touch()
        self.program("mpirun", MPIRUN)
        self.program("scontrol", SCONTROL)
        self.program("sinfo", SINFO)
        self.environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "TEST_PYTHON": sys.executable,
            "SLURM_JOB_ID": "71",
            "SLURM_JOB_NODELIST": "node1",
            "SLURM_TASKS_PER_NODE": "1",
        }

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self, script: str, **resources: Any) -> subprocess.Popen[str]:
        """Write the job down, and do as Slurm does with its script: run a copy."""
        spec = JobSpec("seven", ("python", "train.py"), Resources(ranks=1, **resources))
        directory = self.directory
        (directory.code / "train.py").write_text(script)
        write_file(directory.spec, format_spec(spec))
        write_file(directory.arguments, argument_vector(spec.command))
        batch = render_slurm(
            spec, directory=str(directory.path), python=sys.executable, comment="k", nodes_up=1
        )
        write_file(directory.batch_script, batch.encode())
        record_event(directory, "submitted", name="seven", attempt=1)
        return self.again()

    def again(self) -> subprocess.Popen[str]:
        copy = self.programs / "slurm_script"
        copy.write_bytes(self.directory.batch_script.read_bytes())
        return subprocess.Popen(
            ["/bin/bash", str(copy)], env=self.environment, cwd=self.directory.path,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def wait_until_up(self) -> None:
        wait_for(lambda: self.directory.log.read_text() == "up\n")

    @property
    def end(self) -> tuple[str, str, int]:
        """The state, reason and status that the last event tells; ``exit_code`` must agree."""
        last = read_events(self.directory)[-1]
        assert last["event"] == "ended"
        assert self.directory.exit_code.read_text() == f"{last['exit_code']}\n"
        return last["state"], last["reason"], last["exit_code"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path.resolve())


def output_of(batch: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = batch.communicate(timeout=WAIT_S)
    return batch.returncode, output


def test_a_job_that_completes(job: Job) -> None:
    batch = job.start("import os\nprint(os.environ['MASTER_ADDR'], os.environ['WORLD_SIZE'])\n")
    assert output_of(batch) == (0, "")
    assert job.end == ("COMPLETED", "", 0)
    assert job.directory.log.read_text() == "node1 1\n"
    started = next(event for event in read_events(job.directory) if event["event"] == "started")
    assert (started["hosts"], started["ranks"], started["slurm_job_id"]) == (["node1"], 1, 71)
    assert json.loads(job.directory.done.read_text())["ranks"] == 1


def test_the_batch_script_ends_with_the_job_s_own_status(job: Job) -> None:
    assert output_of(job.start("import sys\nsys.exit(7)\n")) == (7, "")
    assert job.end[0] == "FAILED"
    assert job.end[2] == 7


def test_threads_follow_from_what_slurm_gave_on_the_node(job: Job) -> None:
    job.environment["SLURM_CPUS_ON_NODE"] = "1"
    job.environment["OMP_NUM_THREADS"] = "99"  # from the shell that submitted
    batch = job.start("import os\nprint(os.environ['OMP_NUM_THREADS'])\n")
    assert output_of(batch) == (0, "")
    assert job.directory.log.read_text() == "1\n"


def test_slurm_s_signal_leads_to_a_written_end(job: Job) -> None:
    batch = job.start(SLEEP)
    job.wait_until_up()
    batch.send_signal(signal.SIGTERM)
    assert output_of(batch) == (143, "")
    assert job.end[0] == "CANCELLED"
    assert "scancel" in job.end[1]


def test_the_signal_may_come_as_early_as_it_likes(job: Job) -> None:
    """Python needs a moment until it can hear; from the claim on, the end is written."""
    batch = job.start(SLEEP)
    wait_for(job.directory.claim(1).exists)
    batch.send_signal(signal.SIGTERM)
    assert output_of(batch) == (143, "")
    assert job.end[0] == "CANCELLED"


def test_the_signal_after_a_node_was_lost_names_the_node(job: Job) -> None:
    job.program("sinfo", "#!/bin/sh\necho 'node1 down*'\n")
    batch = job.start(SLEEP)
    job.wait_until_up()
    batch.send_signal(signal.SIGTERM)
    assert output_of(batch) == (1, "")
    assert job.end == ("FAILED", "node1 stopped answering", 1)


def test_the_signal_at_slurm_s_own_limit_is_a_timeout(job: Job) -> None:
    job.environment["SLURM_JOB_END_TIME"] = str(int(time.time()))
    batch = job.start(SLEEP)
    job.wait_until_up()
    batch.send_signal(signal.SIGTERM)
    assert output_of(batch) == (124, "")
    assert job.end[0] == "TIMEOUT"


def test_ranks_that_hear_of_it_first_do_not_make_it_a_failure(job: Job) -> None:
    script = (
        "import os, signal, sys, threading\n"
        "supervisor = os.getppid()\n"
        "while b'runner.supervisor' not in open(f'/proc/{supervisor}/cmdline', 'rb').read():\n"
        "    stat = open(f'/proc/{supervisor}/stat').read()\n"
        "    supervisor = int(stat.rpartition(')')[2].split()[1])\n"
        "if os.fork() == 0:\n"
        "    import time\n"
        "    os.setsid()\n"
        "    time.sleep(0.5)\n"
        "    os.kill(supervisor, signal.SIGTERM)\n"
        "    os._exit(0)\n"
        "sys.exit(9)\n"
    )
    assert output_of(job.start(script)) == (143, "")
    assert job.end[0] == "CANCELLED"


def test_a_cancel_request_is_obeyed(job: Job) -> None:
    batch = job.start(SLEEP)
    job.wait_until_up()
    job.directory.cancel_request.touch()
    assert output_of(batch) == (143, "")
    assert job.end == ("CANCELLED", "cancelled by its owner", 143)


def test_a_request_to_cancel_that_came_first(job: Job) -> None:
    job.directory.cancel_request.touch()
    assert output_of(job.start(SLEEP)) == (143, "")
    assert job.directory.log.read_text() == ""


def test_the_job_file_s_time_limit_is_exact(job: Job) -> None:
    assert output_of(job.start(SLEEP, time_limit="2s")) == (124, "")
    assert job.end == ("TIMEOUT", "ran longer than its time limit", 124)


def test_a_second_start_by_mistake_touches_nothing(job: Job) -> None:
    first = job.start(SLEEP)
    job.wait_until_up()
    wait_for(lambda: read_events(job.directory)[-1]["event"] == "running")
    before = job.directory.events.read_text()
    job.environment["SLURM_JOB_ID"] = "72"
    status, output = output_of(job.again())
    assert status == 125
    assert output == (
        "beowulf: Slurm job 72 does nothing: attempt 1 of this job is Slurm job 71 already\n"
    )
    assert job.directory.events.read_text() == before
    assert not job.directory.exit_code.exists()
    first.send_signal(signal.SIGTERM)
    assert output_of(first)[0] == 143


def test_when_beowulf_itself_fails_it_says_so_in_words(job: Job) -> None:
    job.program("scontrol", "#!/bin/sh\necho 'slurm_load_conf: no' >&2\nexit 1\n")
    status, output = output_of(job.start(SLEEP))
    assert status == 125
    why = "beowulf could not run the job: scontrol failed: slurm_load_conf: no"
    assert output.startswith(f"beowulf: {why}\n")
    assert job.end == ("FAILED", why, 125)


def test_a_job_directory_that_is_gone(job: Job) -> None:
    assert output_of(job.start("")) == (0, "")
    gone = job.directory.path.rename(job.directory.path.with_name("gone"))
    assert gone.exists()
    again = subprocess.run(
        ["/bin/bash", str(job.programs / "slurm_script")],
        env=job.environment, capture_output=True, text=True, check=False, timeout=WAIT_S,
    )  # fmt: skip
    assert again.returncode == 125
    assert again.stderr.startswith(f"beowulf: supervisor of {job.directory.path}: ")


def test_a_node_that_does_not_see_the_environment_says_so(job: Job) -> None:
    job.start("").communicate(timeout=WAIT_S)
    text = job.directory.batch_script.read_text().replace(sys.executable, "/nowhere/python")
    job.directory.batch_script.write_text(text)
    status, output = output_of(job.again())
    assert status == 125
    assert "does not see /nowhere/python" in output

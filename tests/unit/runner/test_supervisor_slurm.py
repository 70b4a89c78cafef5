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
from beowulf.runner.spec import JobSpec, Resources, Retry, format_spec

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

    def start(self, script: str, *, retries: int = 3, **resources: Any) -> subprocess.Popen[str]:
        """Write the job down, and do as Slurm does with its script: run a copy."""
        asked = Resources(**resources) if "nodes" in resources else Resources(ranks=1, **resources)
        spec = JobSpec("seven", ("python", "train.py"), asked, retry=Retry(retries))
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

    def restarted_by_slurm(self, times: int) -> subprocess.Popen[str]:
        """Do as Slurm does when it has put the job back into its queue so many times."""
        self.environment["SLURM_RESTART_COUNT"] = str(times)
        return self.again()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in read_events(self.directory) if event["event"] == name]

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


# --- Ranks, hosts and supervisors that are lost -----------------------------------------------

FIRST_ATTEMPT_IS_KILLED = """
import os, signal
if os.environ["BEOWULF_ATTEMPT"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
print("attempt", os.environ["BEOWULF_ATTEMPT"])
"""
# Every attempt but the last is one rank of those that there should be, and cannot go on.
CANNOT_GO_ON = """
import os, sys
print(os.environ["BEOWULF_ATTEMPT"], os.environ["BEOWULF_RANKS"], os.environ["BEOWULF_ENDPOINTS"])
sys.exit(75 if os.environ["BEOWULF_RANKS"] == "2" else 0)
"""
MPIRUN_SAYS_HOW_MANY = """#!/bin/bash
echo "$*" > "$BEOWULF_JOB_DIR/arguments"
while [ "$1" != "$TEST_PYTHON" ]; do shift; done
export OMPI_COMM_WORLD_SIZE=$BEOWULF_RANKS
exec "$@"
"""
SLEEP_FIRST = """
import os, time
print("up", flush=True)
time.sleep(120 if os.environ["BEOWULF_ATTEMPT"] == "1" else 0)
"""


def test_lost_ranks_are_started_again_under_the_same_supervisor(job: Job) -> None:
    assert output_of(job.start(FIRST_ATTEMPT_IS_KILLED)) == (0, "")
    assert job.end == ("COMPLETED", "", 0)
    assert job.directory.log.read_text() == "attempt 2\n"
    assert [event["attempt"] for event in job.events("started")] == [1, 2]
    (again,) = job.events("restarting")
    assert again["why"].endswith("was killed by signal 9 (SIGKILL)")
    assert job.directory.claim(2).read_text() == "71\n"
    assert json.loads(job.directory.done.read_text())["attempt"] == 2


def test_what_has_run_before_is_tried_again_if_the_launcher_cannot_start_it(job: Job) -> None:
    """As where a node is switched off while the launcher begins."""
    job.program("mpirun", MPIRUN.replace("bash\n", "bash\n[ $BEOWULF_ATTEMPT = 2 ] && exit 250\n"))
    job.start("import time\ntime.sleep(2)\n" + FIRST_ATTEMPT_IS_KILLED).communicate(timeout=WAIT_S)
    assert job.end == ("COMPLETED", "", 0)
    assert job.events("restarting")[1]["why"] == (
        "mpiexec could not start the ranks (exit status 250)"
    )


def test_what_never_ran_is_not_tried_again(job: Job) -> None:
    job.program("mpirun", "#!/bin/sh\nexit 250\n")
    assert output_of(job.start("")) == (250, "")
    assert not job.events("restarting")


def test_they_are_not_where_the_job_file_forbids_it(job: Job) -> None:
    assert output_of(job.start(FIRST_ATTEMPT_IS_KILLED, retries=0)) == (137, "")
    assert job.end[0] == "FAILED"
    assert not job.directory.claim(2).exists()


def test_hosts_that_slurm_has_given_up_are_left_out(job: Job) -> None:
    job.environment |= {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "1(x2)"}
    job.program("scontrol", "#!/bin/sh\n[ $1 = show ] && echo node1 node2\n")
    job.program("sinfo", "#!/bin/sh\nprintf 'node1 allocated\\nnode2 down*\\n'\n")
    job.program("squeue", "#!/bin/sh\nprintf '71.batch|batch\\n71.0|prted\\n'\n")
    job.program("scancel", '#!/bin/sh\necho "$*" >> "${0%/*}/scancelled"\n')
    job.program("mpirun", MPIRUN_SAYS_HOW_MANY)
    assert output_of(job.start(CANNOT_GO_ON)) == (0, "")
    assert job.end == ("COMPLETED", "", 0)
    first, second = (line.split() for line in job.directory.log.read_text().splitlines())
    assert first[:2] == ["1", "2"]
    assert second[:2] == ["2", "1"]
    assert [place.partition(":")[0] for place in first[2].split(",")] == ["node1", "node2"]
    assert second[2].startswith("node1:")
    assert job.directory.hostfile.read_text() == "node1 slots=1\n"
    arguments = (job.directory.path / "arguments").read_text()
    assert f"--hostfile {job.directory.hostfile} " in arguments
    (again,) = job.events("restarting")
    assert again["left_out"] == ["node2"]
    assert job.events("started")[-1]["hosts"] == ["node1"]
    # What the launcher could not end on the other host, Slurm does.
    assert (job.programs / "scancelled").read_text() == "--ctld --signal=KILL 71.0\n"


def test_a_host_that_was_left_out_is_used_again_once_it_is_back(job: Job) -> None:
    job.environment |= {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "1(x2)"}
    job.program("scontrol", "#!/bin/sh\n[ $1 = show ] && echo node1 node2\n")
    until_the_second = f"[ -e {job.directory.claim(2)} ] || echo 'node2 down*'"
    job.program("sinfo", f"#!/bin/sh\necho node1 allocated\n{until_the_second}\n")
    job.program("mpirun", MPIRUN_SAYS_HOW_MANY)
    fails_twice = "import os, sys\nsys.exit(75 if int(os.environ['BEOWULF_ATTEMPT']) < 3 else 0)\n"
    assert output_of(job.start(fails_twice))[1] == ""
    started = [event["hosts"] for event in job.events("started")]
    assert started[:3] == [["node1", "node2"], ["node1"], ["node1", "node2"]]
    assert [event["left_out"] for event in job.events("restarting")][:2] == [["node2"], []]


def test_with_fewer_hosts_than_it_must_have_it_goes_back_to_slurm(job: Job) -> None:
    """Slurm is away when it is asked first."""
    job.environment |= {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "1(x2)"}
    job.program(
        "scontrol",
        "#!/bin/sh\n[ $1 = requeue ] && [ ! -e ${0%/*}/asked ] && touch ${0%/*}/asked && exit 1\n"
        "[ $1 = requeue ] && kill $PPID && touch ${0%/*}/requeued\n"
        "[ $1 = show ] && echo node1 node2\nexit 0\n",
    )
    job.program("sinfo", "#!/bin/sh\nprintf 'node1 allocated\\nnode2 down*\\n'\n")
    job.program("mpirun", MPIRUN_SAYS_HOW_MANY)
    assert output_of(job.start(CANNOT_GO_ON, nodes="2-4")) == (125, "")
    assert (job.programs / "requeued").exists()
    assert not job.directory.exit_code.exists()
    assert not job.events("ended")


def test_a_supervisor_that_slurm_ends_to_start_the_job_again_writes_no_end(job: Job) -> None:
    batch = job.start(SLEEP_FIRST)
    job.wait_until_up()
    job.program("scontrol", "#!/bin/sh\necho 'JobId=71 Requeue=1 Restarts=1 BatchFlag=1'\n")
    batch.send_signal(signal.SIGTERM)
    assert output_of(batch) == (125, "")
    assert not job.directory.exit_code.exists()
    job.program("scontrol", SCONTROL)
    assert output_of(job.restarted_by_slurm(1)) == (0, "")
    assert job.end == ("COMPLETED", "", 0)
    assert [event["attempt"] for event in job.events("started")] == [1, 2]
    assert [event["attempt"] for event in job.events("restarting")] == [2]


def test_a_supervisor_that_was_frozen_while_the_job_went_on_writes_no_end(job: Job) -> None:
    frozen = job.start(SLEEP_FIRST)
    job.wait_until_up()
    supervisor = frozen.pid  # the batch script has become it
    os.kill(supervisor, signal.SIGSTOP)
    assert output_of(job.restarted_by_slurm(1)) == (0, "")
    os.kill(supervisor, signal.SIGCONT)
    assert output_of(frozen) == (125, "")
    assert [event["state"] for event in job.events("ended")] == ["COMPLETED"]
    assert job.end == ("COMPLETED", "", 0)
    assert not job.directory.claim(3).exists()


def test_it_is_ended_while_the_other_runs(job: Job) -> None:
    batch = job.start(SLEEP_FIRST)
    job.wait_until_up()
    job.directory.claim(2).write_text("71\n")  # by the one that Slurm has started elsewhere
    assert output_of(batch) == (125, "")
    assert not job.events("ended")
    assert not job.directory.claim(3).exists()


def test_a_job_is_started_again_as_often_as_its_file_says(job: Job) -> None:
    job.directory.claim(1).write_text("71\n")
    job.directory.claim(2).write_text("71\n")
    job.environment["SLURM_RESTART_COUNT"] = "2"
    assert output_of(job.start(SLEEP, retries=1)) == (125, "")
    state, reason, code = job.end
    assert (state, code) == ("FAILED", 125)
    assert reason == (
        "the host from which it was run was lost; it was not started again ([retry] limit is 1)"
    )
    assert job.directory.log.read_text() == ""


def test_restarts_by_slurm_and_by_the_supervisor_are_counted_together(job: Job) -> None:
    always_killed = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    job.directory.claim(1).write_text("71\n")
    job.environment["SLURM_RESTART_COUNT"] = "1"
    assert output_of(job.start(always_killed, retries=2)) == (137, "")
    assert [event["attempt"] for event in job.events("restarting")] == [2, 3]
    assert "2 times, which is the limit" in job.end[1]


def test_what_was_finished_when_its_host_was_lost_is_not_done_again(job: Job) -> None:
    job.directory.claim(1).write_text("71\n")
    job.directory.done.write_text("{}")
    job.environment["SLURM_RESTART_COUNT"] = "9"
    assert output_of(job.start(SLEEP)) == (0, "")
    assert job.end == ("COMPLETED", "", 0)
    assert job.directory.log.read_text() == ""


def test_what_has_ended_is_not_begun_again_by_slurm(job: Job) -> None:
    assert output_of(job.start("import sys\nsys.exit(7)\n")) == (7, "")
    before = job.directory.events.read_text()
    assert output_of(job.restarted_by_slurm(1)) == (7, "")
    assert job.directory.events.read_text() == before

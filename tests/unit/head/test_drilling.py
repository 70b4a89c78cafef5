"""A plug is pulled through Slurm: what runs on the node is real, Slurm alone is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from beowulf.durable import append_json_line
from beowulf.errors import BeowulfError, InvalidInput
from beowulf.head import drilling
from beowulf.job.drill import Plug
from beowulf.job.events import read_events, record_event
from beowulf.job.heartbeat import Heartbeat
from tests.unit.head.conftest import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from beowulf.job.directory import JobDirectory
    from tests.unit.head.conftest import FakeSlurm

# Notes its words and runs what stands behind --quiet, as the user, on this computer.
SRUN = """#!/bin/sh
echo "$@" >> "$0.words"
while [ "$1" != --quiet ]; do shift; done
shift
exec "$@"
"""
CARRIED_ON = {"ranks": [0], "hosts": ["head"], "step": 9, "lost_s": 0.5}


@pytest.fixture
def srun(tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "commands" / "srun"
    program.write_text(SRUN)
    program.chmod(0o755)
    monkeypatch.setenv("BEOWULF_HEAD_PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(drilling, "client_listens", lambda _: True)
    return program


@pytest.fixture
def ranks(running: JobDirectory) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two ranks of the job, and a process of another job."""
    environment = {**os.environ, "BEOWULF_JOB_DIR": str(running.path)}
    other = {**os.environ, "BEOWULF_JOB_DIR": f"{running.path}0"}
    started = [
        subprocess.Popen(["sleep", "600"], env=env) for env in (environment, environment, other)
    ]
    record_event(running, "started", attempt=1, ranks=2, hosts=["head", "node1"])
    record_event(running, "running")
    for rank, process in enumerate(started[:2]):
        host = ("head", "node1")[rank]
        Heartbeat(rank, 1, step=9, host=host, pid=process.pid).write(running)
    yield started
    for process in started:
        process.kill()
        process.wait()


def ask(**document: Any) -> dict[str, Any]:
    client = Client()
    drilling.aim(client.peer(), {"id": "1", "what": "kill", **document})
    plug: dict[str, Any] = client.told[0].document["plug"]
    return plug


def recover(job: JobDirectory) -> None:
    record_event(job, "lost", ranks=[1], hosts=["node1"], step=9, attempt=1)
    record_event(job, "carried_on", **CARRIED_ON)
    for step in range(10, 20):
        append_json_line(job.metrics, {"step": step, "step_s": 0.5})


def test_a_rank_is_killed_on_its_node_and_the_recovery_told(
    running: JobDirectory,
    ranks: list[subprocess.Popen[bytes]],
    srun: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plug = ask()
    assert (plug["ranks"], plug["host"], plug["pids"]) == ([1], "node1", [ranks[1].pid])
    pull = drilling.pull

    def pull_and_recover(*words: Any) -> float:
        pulled_at = pull(*words)
        recover(running)
        return pulled_at

    monkeypatch.setattr(drilling, "pull", pull_and_recover)
    client, before = Client(), time.time()
    drilling.drill(client.peer(), {"plug": plug})
    assert ranks[1].wait(10) == -signal.SIGKILL
    assert ranks[0].poll() is None
    told = [frame.document for frame in client.told]
    assert told[-1] == {"over": True}
    found = told[-2]["recovery"]
    assert (found["ranks"], found["step"], found["steps_per_s"]) == (1, 9, 2.0)
    assert 0 <= found["noticed_s"] < time.time() - before
    words = srun.with_name("srun.words").read_text()
    assert words.startswith(
        "--jobid=101 --overlap --mpi=none --nodes=1 --ntasks=1 --nodelist=node1"
    )
    story = [event for event in read_events(running) if event["event"] == "drill"]
    assert [(event["what"], event["rank"], event["host"]) for event in story] == [
        ("kill", 1, "node1")
    ]


def test_a_cut_node_is_all_that_the_job_has_there_and_nothing_else(
    running: JobDirectory, ranks: list[subprocess.Popen[bytes]], srun: Path
) -> None:
    plug = Plug.from_json(ask(what="cut"))
    drilling.pull(running, plug, 101)
    deadline = time.monotonic() + 60
    while True:  # a process that was running takes a signal a moment later
        states = [psutil.Process(process.pid).status() for process in ranks]
        if states[:2] == [psutil.STATUS_STOPPED] * 2 or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    assert states[:2] == [psutil.STATUS_STOPPED] * 2
    assert states[2] != psutil.STATUS_STOPPED


def test_a_process_that_is_of_another_job_by_now_is_left_alone(
    running: JobDirectory, ranks: list[subprocess.Popen[bytes]], srun: Path
) -> None:
    Heartbeat(1, 1, step=9, host="node1", pid=ranks[2].pid).write(running)
    with pytest.raises(BeowulfError, match="gone already"):
        drilling.drill(Client().peer(), {"plug": ask()})
    assert ranks[2].poll() is None
    assert not [event for event in read_events(running) if event["event"] == "drill"]


def test_a_job_that_has_changed_meanwhile_is_not_touched(
    running: JobDirectory, ranks: list[subprocess.Popen[bytes]], srun: Path
) -> None:
    plug = ask()
    Heartbeat(1, 1, step=9, host="node1", pid=ranks[0].pid).write(running)
    with pytest.raises(InvalidInput, match="has changed"):
        drilling.drill(Client().peer(), {"plug": plug})
    assert not srun.with_name("srun.words").exists()


def test_a_node_that_cannot_be_reached_is_told(
    running: JobDirectory, ranks: list[subprocess.Popen[bytes]], srun: Path
) -> None:
    srun.write_text("#!/bin/sh\necho 'srun: error: Node node1 is down' >&2; exit 1\n")
    with pytest.raises(BeowulfError, match="Node node1 is down"):
        drilling.drill(Client().peer(), {"plug": ask()})

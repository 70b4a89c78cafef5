"""Jobs that are easy to break: a script that trains slowly, and ways to look at it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beowulf.job.directory import JobDirectory
from beowulf.job.events import read_events
from beowulf.job.heartbeat import Heartbeat, read_heartbeats
from tests.conftest import BEOWULF, Beowulf

WAIT_S = 60.0

TRAIN_SLOWLY = """
import time
import numpy as np
from beowulf import train

weights = np.zeros(4)
with train.Run(global_batch=8, checkpoint_every_steps=5) as run:
    run.track(weights=weights)
    for batch in run.batches(64, steps={steps}):
        gradient = np.zeros(4)
        for part in batch:
            gradient += part.sum()
        time.sleep({step_s})
        run.average(gradient, gradient[0])
        weights -= 0.001 * gradient
    run.say("trained")
"""


# Ranks that talk without beowulf.train: nobody of them can carry on without another.
TALK = """
import time
from mpi4py import MPI

for _ in range(3000):
    MPI.COMM_WORLD.allreduce(1)
    time.sleep(0.05)
"""


@pytest.fixture
def slow_script(tmp_path: Path) -> Path:
    """A script whose training takes minutes unless something happens to it."""
    return write_script(tmp_path, TRAIN_SLOWLY.format(steps=3000, step_s=0.05))


def write_script(tmp_path: Path, text: str) -> Path:
    """Write a script into a work directory of its own."""
    directory = tmp_path / "work"
    directory.mkdir(exist_ok=True)
    script = directory / "train.py"
    script.write_text(text)
    return script


def job_file(script: Path, ranks: int, retries: int) -> Path:
    """Write a job file that says how often lost ranks are started again."""
    path = script.parent / "job.toml"
    path.write_text(
        f'command = ["python", "{script.name}"]\n'
        f"resources.ranks = {ranks}\nretry.limit = {retries}\n"
    )
    return path


class Job:
    """One submitted job, seen as a user sees it and from its directory."""

    def __init__(self, beowulf: Beowulf, job_id: str) -> None:
        self._beowulf = beowulf
        self.id = job_id
        self.directory = JobDirectory(Path(self.status()["directory"]))

    def status(self) -> dict[str, Any]:
        """Return what ``beowulf status --json`` says."""
        answer = self._beowulf("status", self.id, "--json")
        assert answer.returncode == 0, answer.stderr
        status: dict[str, Any] = json.loads(answer.stdout)["job"]
        return status

    def wait_until_over(self) -> dict[str, Any]:
        """Wait for the job to end and return its status."""
        answer = self._beowulf("wait", self.id, "--timeout", str(WAIT_S), "--json")
        status: dict[str, Any] = json.loads(answer.stdout)["jobs"][0]
        return status

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until something is true of the job."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, self.status()
            time.sleep(0.02)

    def wait_for_training(self, step: int = 1) -> list[Heartbeat]:
        """Wait until metrics of ``step`` are written and return every rank's heartbeat."""
        self.wait_until(lambda: any(line["step"] >= step for line in self.metrics()))
        return read_heartbeats(self.directory, self.status()["ranks"])

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of this name in the job's story."""
        return [event for event in read_events(self.directory) if event["event"] == name]

    def metrics(self) -> list[dict[str, Any]]:
        """Return the job's metrics so far."""
        try:
            text = self.directory.metrics.read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.split("\n")[:-1]]


@pytest.fixture
def submit(beowulf: Beowulf) -> Callable[..., Job]:
    """Return a function that submits a script and comes back at once."""

    def run(script: Path, *options: str) -> Job:
        answer = beowulf("submit", script, "--detach", "--json", *options)
        assert answer.returncode == 0, answer.stderr
        return Job(beowulf, json.loads(answer.stdout)["job"]["id"])

    return run


def start_beowulf(
    environment: dict[str, str], *arguments: str | Path, **settings: Any
) -> subprocess.Popen[bytes]:
    """Start ``beowulf`` and don't wait for it."""
    return subprocess.Popen([BEOWULF, *arguments], env=environment, **settings)

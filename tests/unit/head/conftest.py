"""A Slurm of shell scripts and a few files, and a client that talks to the head's program."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.head.frames import Frame, FrameReader, Peer
from beowulf.head.records import job_root
from beowulf.job.events import record_event

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.job.directory import JobDirectory

PROGRAM = """#!{python} -IS
import json, os, pathlib, sys
state = pathlib.Path({state!r})
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with (state / "calls").open("a") as calls:
    calls.write(json.dumps([name, *words]) + "\\n")
answer = json.loads((state / "answers.json").read_text())
kind = "test" if "--test-only" in words else name
told = answer.get(kind, dict())
if kind == "sbatch" and (told.get("taken") or not told.get("status")):
    number = 100 + len((state / "jobs").read_text().split("\\n"))
    script = pathlib.Path(words[-1]).read_text()
    comment = next(l.split("=", 1)[1] for l in script.splitlines() if "--comment=" in l)
    with (state / "jobs").open("a") as jobs:
        jobs.write(f"{{number}}|PENDING|Priority|1||N/A|N/A|{{comment}}\\n")
    if not told.get("silent") and not told.get("status"):
        print(number)
elif kind == "squeue":
    print((state / "jobs").read_text(), end="")
elif kind == "scancel":
    jobs = (state / "jobs").read_text().splitlines()
    new = [line.replace("|PENDING|", "|CANCELLED|").replace("|RUNNING|", "|CANCELLED|")
           if line.split("|")[0] in words else line for line in jobs]
    (state / "jobs").write_text("".join(line + "\\n" for line in new))
print(told.get("output", ""), end="")
print(told.get("errors", ""), end="", file=sys.stderr)
sys.exit(told.get("status", 0))
"""


@dataclass(frozen=True)
class FakeSlurm:
    """Stands in for Slurm's commands: keeps a queue, answers what a test says, notes calls."""

    state: Path

    def answer(self, command: str, **told: Any) -> None:
        """Have ``command`` print ``output`` and ``errors`` and end with ``status``."""
        answers = json.loads((self.state / "answers.json").read_text())
        (self.state / "answers.json").write_text(json.dumps({**answers, command: told}))

    def set(self, number: int, state: str, nodes: str = "") -> None:
        """Let a job be in another state."""
        lines = []
        for line in (self.state / "jobs").read_text().splitlines():
            fields = line.split("|")
            if fields[0] == str(number):
                fields[1], fields[4] = state, nodes
            lines.append("|".join(fields) + "\n")
        (self.state / "jobs").write_text("".join(lines))

    def add(self, number: int, state: str, comment: str, nodes: str = "") -> None:
        """Have one job more."""
        with (self.state / "jobs").open("a") as jobs:
            jobs.write(f"{number}|{state}|Priority|4|{nodes}|N/A|N/A|{comment}\n")

    def forget(self) -> None:
        """Have no jobs any more."""
        (self.state / "jobs").write_text("")

    def calls(self, command: str) -> list[list[str]]:
        """Return the words that one command was called with, each time."""
        lines = (self.state / "calls").read_text().splitlines()
        return [words for name, *words in map(json.loads, lines) if name == command]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    state = tmp_path / "slurm"
    commands = tmp_path / "commands"
    commands.mkdir()
    state.mkdir()
    (state / "answers.json").write_text("{}")
    (state / "jobs").touch()
    (state / "calls").touch()
    for name in ("sbatch", "squeue", "scancel", "sinfo", "sacct", "sacctmgr", "scontrol"):
        program = commands / name
        program.write_text(PROGRAM.format(python=sys.executable, state=str(state)))
        program.chmod(0o755)
    monkeypatch.setenv("BEOWULF_HEAD_PATH", str(commands))
    monkeypatch.setenv("BEOWULF_CLUSTER_PYTHON", sys.executable)
    fake = FakeSlurm(state)
    fake.answer("sinfo", output="node1|idle\nnode2|mixed\nnode3|down*\nnode2|mixed\n")
    return fake


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home on the head."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def queued(home: Path, slurm: FakeSlurm) -> JobDirectory:
    """A job that waits in Slurm's queue under the number 101."""
    del home
    root = job_root()
    (root.path / "1").mkdir(parents=True)
    directory = root.find("1")
    directory.checkpoints.mkdir()
    directory.heartbeats.mkdir()
    directory.log.touch()
    record_event(directory, "submitted", name="digits", ranks=4, attempt=1)
    directory.slurm_job_id.write_text("101\n")
    (slurm.state / "jobs").write_text("101|PENDING|Priority|4||N/A|N/A|beowulf:1:key\n")
    return directory


@pytest.fixture
def running(queued: JobDirectory, slurm: FakeSlurm) -> JobDirectory:
    """A job whose ranks run."""
    slurm.set(101, "RUNNING", "node[1-4]")
    record_event(queued, "started", attempt=1, ranks=4)
    record_event(queued, "running")
    return queued


def grow_old(job: JobDirectory) -> None:
    """Have a job's files be as if nobody had written into them for a day."""
    yesterday = time.time() - 86_400
    for path in (job.log, job.heartbeats):
        os.utime(path, (yesterday, yesterday))


@dataclass
class Client:
    """What a client would have sent, and what it was told."""

    sent: list[Frame] = field(default_factory=list)
    output: io.BytesIO = field(default_factory=io.BytesIO)

    def peer(self) -> Peer:
        stream = io.BytesIO(b"".join(frame.encode() for frame in self.sent))
        return Peer(FrameReader(stream.read), self.output)

    @property
    def told(self) -> list[Frame]:
        reader = FrameReader(io.BytesIO(self.output.getvalue()).read)
        frames = []
        while (frame := reader.read()) is not None:
            frames.append(frame)
        return frames

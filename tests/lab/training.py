"""A job that trains on the lab, as its owner sees it and as its directory tells of it."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.room import NODES, wait_for
from tests.lab.test_submit import TOLERANCE, Laptop

if TYPE_CHECKING:
    from collections.abc import Sequence

TRAINS_S = 240.0  # for a step to be done, however busy the lab's computer is
GONE_S = 60.0
RESTARTS = 20
RANKS = "beowulf[.]rank"
ITS_PROCESSES = f"{RANKS}|beowulf[.]runner|prted|prterun|mpirun"
# What the weights learn has noise in it, so that no loss ever comes near zero.
SCRIPT = """
import sys, time
import numpy as np
from beowulf import train

steps, pause_s, ballast_mb = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
every_steps, busy_s, sample_s = int(sys.argv[4]) or None, float(sys.argv[5]), float(sys.argv[6])
inputs = np.random.default_rng(0).normal(size=(512, 20))
answers = inputs @ np.random.default_rng(1).normal(size=20)
answers += np.random.default_rng(2).normal(size=512)
weights, momentum = np.zeros(20), np.zeros(20)
ballast = np.random.default_rng(3).integers(0, 256, ballast_mb << 20, dtype=np.uint8)
with train.Run(global_batch=64, averaging="dense", checkpoint_every_steps=every_steps) as run:
    data = run.dataset(lambda: {"inputs": inputs, "answers": answers})
    run.track(weights=weights, momentum=momentum, ballast=ballast)
    for batch in run.batches(512, steps=steps):
        gradient, loss = np.zeros(20), 0.0
        for part in batch:
            error = data["inputs"][part] @ weights - data["answers"][part]
            gradient += data["inputs"][part].T @ error
            loss += 0.5 * float(error @ error)
            time.sleep(sample_s * len(error))
        time.sleep(pause_s)
        computed = time.thread_time() + busy_s
        while time.thread_time() < computed:
            pass
        run.average(gradient, loss)
        momentum[:] = 0.9 * momentum + gradient
        weights -= 0.02 * momentum
"""


@dataclass
class Witness:
    """Sees a job's steps as they are written, over a connection of its own to the head.

    ``steps`` holds each step that was seen, with when that was, by ``time.time``.
    """

    words: Sequence[str]
    steps: list[tuple[int, float]] = field(default_factory=list)
    _is_over: bool = False
    _process: subprocess.Popen[str] | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._is_over = True
        if self._process is not None:
            self._process.kill()
        if self._thread is not None:
            self._thread.join(10)

    @property
    def newest(self) -> int:
        """The highest step so far, 0 before the first."""
        return max((step for step, _ in self.steps), default=0)

    def _look(self) -> None:
        while not self._is_over:
            with subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            ) as self._process:
                assert self._process.stdout is not None
                for line in self._process.stdout:
                    self._note(line)
            time.sleep(0.5)  # the head was off, or out of reach

    def _note(self, line: str) -> None:
        try:
            step = json.loads(line)["step"]
        except (ValueError, TypeError, KeyError):  # the end of a line was not written yet
            return
        self.steps.append((int(step), time.time()))


@dataclass(frozen=True)
class Training:
    """One job, and what is expected of it."""

    laptop: Laptop
    job_id: str
    steps: int
    undisturbed: Sequence[float]
    witness: Witness

    @property
    def place(self) -> str:
        """The job's directory, from its owner's home on."""
        return f"beowulf/jobs/{self.job_id}"

    def on_head(self, command: str) -> str:
        """Run a line of shell as the job's owner, in its directory on the head."""
        return self.laptop.cluster.as_user("ada", "head", f"cd {self.place} && {command}")

    def wait_for_step(self, step: int) -> None:
        """Wait until a step is done."""
        wait_for(lambda: self.witness.newest >= step, f"step {step} of {self.job_id}", TRAINS_S)

    def place_of(self, rank: int) -> tuple[str, int]:
        """Return a rank's node and process."""
        beat = json.loads(self.on_head(f"cat heartbeat/{rank}"))
        return str(beat["host"]), int(beat["pid"])

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of this name in the job's story."""
        lines = map(json.loads, self.on_head("cat events.jsonl").splitlines())
        return [line for line in lines if line["event"] == name]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait until the job's story tells something; return that."""
        wait_for(lambda: len(self.events(event)) >= count, f"{event} of {self.job_id}", TRAINS_S)
        return self.events(event)[count - 1]

    def carries_on_without(self, *nodes: str) -> list[dict[str, Any]]:
        """See the job go on in place, its first attempt, once without each of these nodes."""

        def lost() -> list[str]:
            return sorted(host for event in self.events("lost") for host in event["hosts"])

        wait_for(lambda: lost() == sorted(nodes), f"{nodes} are lost", TRAINS_S)
        wait_for(self._is_carried_on, f"carried on without {nodes}", TRAINS_S)
        return self.events("carried_on")

    def _is_carried_on(self) -> bool:
        last: dict[str, Any] = next(iter(self.events("carried_on")[::-1]), {})
        gone = {rank for event in self.events("lost") for rank in event["ranks"]}
        return bool(last) and not gone.intersection(last["ranks"])

    def ends_as_if_nothing_had_happened(self, attempts: int | None = 1) -> None:
        """See the job end COMPLETED, with each step done once and the undisturbed run's losses.

        ``attempts`` is how often it must have been started, None for as often as may be.
        """
        told = self.laptop.try_to("wait", self.job_id)
        record = self.laptop.record(self.job_id)
        story = "\n".join(json.dumps(event) for event in record.get("story", []))
        assert record["state"] == "COMPLETED", f"{record}\n{story}\n{told.stderr.decode()}"
        self.trained_undisturbed()
        if attempts is not None:
            assert len(self.events("restarting")) == attempts - 1, story
        assert len(self.events("ended")) == 1, story
        self.leaves_nothing_running()

    def trained_undisturbed(self) -> None:
        """Compare the metrics with those of a run to which nothing happened."""
        lines = [json.loads(line) for line in self.on_head("cat metrics.jsonl").splitlines()]
        assert [line["step"] for line in lines] == list(range(1, self.steps + 1))
        losses = [line["loss"] for line in lines]
        expected = list(self.undisturbed[: self.steps])
        assert losses == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)

    def trained_undisturbed_so_far(self) -> int:
        """Compare the metrics of a job that was cancelled; return how many steps it did."""
        done = len(self.on_head("cat metrics.jsonl").splitlines())
        replace(self, steps=done).trained_undisturbed()
        return done

    def leaves_nothing_running(self) -> None:
        """See that no process of the job is left on any node that can be asked."""
        room = self.laptop.cluster.room
        nodes = room.status()["nodes"]
        asked = [
            name
            for name in NODES
            if nodes[name]["state"] == "on" and nodes[name]["cable"] == "connected"
        ]
        wait_for(lambda: not self.processes(asked), f"nothing runs on {asked}", GONE_S)

    def ends_its_rank_on(self, node: str) -> None:
        """See that a node where others went on without ends its part, while these go on."""
        wait_for(lambda: not self.processes([node], RANKS), f"{node} has ended its rank")
        assert self.witness.newest < self.steps, "the job was over before that"

    def processes(self, nodes: Sequence[str], which: str = ITS_PROCESSES) -> list[str]:
        """Return the processes of the job's owner that are part of a job, on these nodes."""
        room = self.laptop.cluster.room
        told = [room.ssh(node, f"pgrep --uid ada --full --list-full '{which}'") for node in nodes]
        assert all(done.returncode in (0, 1) for done in told), told
        return [line for done in told for line in done.stdout.splitlines()]


def write_job(directory: Path) -> Path:
    """Write the job file of all these jobs, with its script; return it.

    It uses nodes that earlier jobs have lost lately, too.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "train.py").write_text(SCRIPT)
    path = directory / "job.toml"
    path.write_text(
        f'command = ["python", "train.py"]\nretry = {{ limit = {RESTARTS}, leave_out = false }}\n'
    )
    return path

"""Plugs to pull while a job trains: ``lab.power_off("node3").at_step(50)``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.conftest import BEOWULF
from tests.lab.room import Room, wait_for
from tests.lab.test_submit import losses
from tests.lab.training import TRAINS_S, Training, Witness, write_job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.lab.cluster import Cluster
    from tests.lab.test_submit import Laptop

STEPS = 150
PAUSE_S = 0.05


@dataclass(frozen=True)
class Fault:
    """Something that is about to happen to a job that trains."""

    job: Training
    strike: Callable[[], object]

    def at_step(self, step: int) -> float:
        """Let it happen once the job has done a step; return when it did, by ``time.time``.

        Steps are seen up to half a second late, as their lines are written.
        """
        self.job.wait_for_step(step)
        return self.now()

    def now(self) -> float:
        """Let it happen; return when it did."""
        struck = time.time()
        self.strike()
        return struck


@dataclass
class Plugs:
    """A lab's plugs and cables, the cluster's daemons, and the ranks of a job that trains there."""

    laptop: Laptop
    job_file: Path
    undisturbed: Sequence[float]
    _jobs: list[Training] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        return self.laptop.cluster

    @property
    def room(self) -> Room:
        return self.laptop.cluster.room

    @property
    def job(self) -> Training:
        """The job that was submitted last."""
        return self._jobs[-1]

    def training(
        self,
        *options: str,
        nodes: str = "4",
        steps: int = STEPS,
        ballast_mb: int = 0,
        every_steps: int = 0,
        busy_s: float = 0.0,
        sample_s: float = 0.0,
    ) -> Training:
        """Submit a job; return once it trains.

        ``ballast_mb`` is what its checkpoints hold besides, ``every_steps`` is between them,
        ``busy_s`` is how long a rank computes in each step, by its processor's time, and
        ``sample_s`` how long it rests for each sample.
        """
        words = tuple(map(str, (steps, PAUSE_S, ballast_mb, every_steps, busy_s, sample_s)))
        chosen = ("--nodes", nodes, *options)
        job_id = self.laptop.submit(self.job_file, *chosen, "--", *words)
        job = self.watched(job_id, steps)
        job.wait_for_step(1)
        return job

    def watched(self, job_id: str, steps: int) -> Training:
        """Begin to watch a job that there is."""
        config = f"/var/lib/beowulf/labs/{self.room.name}/ssh_config"
        alive = [f"-oServerAlive{what}=2" for what in ("Interval", "CountMax")]
        command = f"tail --follow=name --retry -q --lines=+1 beowulf/jobs/{job_id}/metrics.jsonl"
        witness = Witness(["ssh", "-F", config, *alive, "-l", "ada", "head", command])
        witness.start()
        job = Training(self.laptop, job_id, steps, self.undisturbed, witness)
        self._jobs.append(job)
        return job

    def power_off(self, *nodes: str) -> Fault:
        """Pull nodes' plugs."""
        return self._each("power", nodes, "off")

    def freeze(self, *nodes: str) -> Fault:
        """Have nodes answer nothing, with all that they had in mind kept."""
        return self._each("power", nodes, "pause")

    def thaw(self, *nodes: str) -> Fault:
        """Let frozen nodes go on."""
        return self._each("power", nodes, "resume")

    def cut_cable(self, *nodes: str) -> Fault:
        """Pull nodes' network cables out."""
        return self._each("cable", nodes, "cut")

    def heal_cable(self, *nodes: str) -> Fault:
        """Put nodes' network cables in again."""
        return self._each("cable", nodes, "heal")

    def kill_rank(self, rank: int) -> Fault:
        """Kill a rank's script, as the kernel does where memory is short."""
        return self._signal("KILL", rank)

    def stop_rank(self, rank: int) -> Fault:
        """Stop a rank's script: it keeps its connections and answers nothing."""
        return self._signal("STOP", rank)

    def kill_launcher_and_damage_newest_checkpoint(self) -> str:
        """Do both before a checkpoint can follow; return the name of the one that is damaged."""
        command = (
            f"pkill -KILL --uid ada prterun; cd /home/ada/{self.job.place}/checkpoints; "
            "newest=$(ls -d step-* | tail -n 1); echo $newest; dd status=none conv=notrunc "
            "if=/dev/urandom of=$newest/arrays.npz bs=64 seek=1 count=1"
        )
        node, _ = self.job.place_of(0)
        assert node == "head"
        return self.room.on("head", f"sudo sh -c '{command}'")

    def on(self, node: str, command: str) -> Fault:
        """Run a line of shell on a node."""
        return Fault(self.job, lambda: self.room.on(node, command))

    def _each(self, what: str, nodes: Sequence[str], action: str) -> Fault:
        def strike() -> None:
            for node in nodes:
                self.room(what, node, action)

        return Fault(self.job, strike)

    def _signal(self, name: str, rank: int) -> Fault:
        node, pid = self.job.place_of(rank)
        return self.on(node, f"sudo kill -{name} {pid}")

    def mend(self) -> None:
        """End what jobs still run, and have all nodes at work again."""
        for job in self._jobs:
            job.witness.stop()
        self._jobs.clear()
        for name, node in self.room.status()["nodes"].items():
            if node["state"] == "paused":
                self.room("power", name, "resume")
            if node["cable"] != "connected":
                self.room("cable", name, "heal")
        self.room("up")
        jobs: list[dict[str, Any]] = json.loads(self.laptop("jobs", "--json"))["jobs"]
        alive = [job["id"] for job in jobs if job["exit_code"] is None]
        if alive:
            self.laptop("cancel", *alive)
        self.cluster.wait_until_idle()

    def without_the_head(self) -> None:
        """Keep new jobs off the head, so that it outlives the first node of theirs."""
        self.room.on("head", "sudo scontrol update nodename=head state=drain reason=recovery")

    def with_the_head(self) -> None:
        """Let the head work again."""
        self.room.on("head", "sudo scontrol update nodename=head state=resume")


def undisturbed_losses(home: Path, steps: int) -> list[float]:
    """Return the losses of a run on this computer to which nothing happens."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BEOWULF_")}
    environment = kept | {f"XDG_{kind}_HOME": str(home / kind) for kind in ("CONFIG", "STATE")}
    there = home / "there"
    for words in (
        ("submit", write_job(home / "alone"), "--ranks", "2", "--", str(steps), *"00000"),
        ("fetch", "--to", there),
    ):
        subprocess.run([BEOWULF, *words], env=environment, check=True, capture_output=True)
    return losses(there)


def wait_until_back(room: Room, node: str) -> None:
    """Wait until one can log in to a node that was off, or out of reach."""
    wait_for(lambda: room.ssh(node, "true").returncode == 0, f"{node} is back", TRAINS_S)

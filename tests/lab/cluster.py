"""A lab's cluster as its administrator and its users handle it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra

from tests.conftest import BEOWULF, REPOSITORY
from tests.docs.markdown import blocks
from tests.lab.room import NODES, Room

PLAY_TIMEOUT_S = 1500
JOB_TIMEOUT_S = 300
RECAP = re.compile(r"^(\S+)\s+: (ok=.*)$", re.MULTILINE)
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"}

OPERATIONS = REPOSITORY / "docs" / "operations.md"


def first_job() -> tuple[str, str]:
    """Return the program and the batch script of docs/operations.md, "A first job"."""
    texts = [block.text for block in blocks(OPERATIONS.read_text(encoding="utf-8"))]
    program = next(text for text in texts if text.startswith("import socket"))
    script = next(text for text in texts if text.startswith("#!/bin/bash"))
    assert "--nodes=4 " in script
    return program, script


@dataclass(frozen=True)
class Play:
    """How a run of ansible-playbook ended."""

    status: int
    output: str
    seconds: float

    @cached_property
    def recap(self) -> dict[str, dict[str, int]]:
        """Ansible's counts by machine."""
        return {
            name: {word: int(count) for word, count in re.findall(r"(\w+)=(\d+)", counts)}
            for name, counts in RECAP.findall(self.output)
        }

    @property
    def changes(self) -> list[str]:
        """What was changed, as "machine: task"."""
        found, task = [], ""
        for line in self.output.splitlines():
            if heading := re.match(r"TASK \[(.*)\] \*", line):
                task = heading[1]
            if machine := re.match(r"changed: \[(\w+)", line):
                found.append(f"{machine[1]}: {task}")
        return found

    @property
    def changed(self) -> set[str]:
        """The machines on which anything was changed."""
        return {name for name, counts in self.recap.items() if counts["changed"]}

    @cached_property
    def rows(self) -> dict[str, str]:
        """The rows of the table that verify prints, by machine."""
        lines = [line.strip() for line in self.output.splitlines()]
        rows = [line for line in lines if "✓" in line or "✗" in line]
        return {line.split()[0]: line for line in rows if line.split()[0] in NODES}

    @property
    def is_green(self) -> bool:
        """Whether verify says that all is well on all four machines."""
        return set(self.rows) == set(NODES) and not any("✗" in row for row in self.rows.values())


@dataclass(frozen=True)
class Cluster:
    """The cluster of a lab: run playbooks on it, and jobs as its users."""

    room: Room

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.room.environment,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.connections),
        }

    @property
    def connections(self) -> Path:
        """Where Ansible keeps its connections to this lab alone."""
        return Path("~/.ansible/cp", self.room.name).expanduser()

    def forget_connections(self) -> None:
        """Let the next playbook connect anew, since the nodes were powered off meanwhile."""
        for path in self.connections.glob("*"):
            path.unlink(missing_ok=True)

    def command(self, playbook: str, *words: str) -> list[str]:
        return [
            str(BEOWULF.with_name("ansible-playbook")), "-i", str(self.room.inventory),
            f"playbooks/{playbook}.yml", *words,
        ]  # fmt: skip

    def try_to_play(self, playbook: str, *words: str) -> Play:
        """Run a playbook, whatever comes of it."""
        begun = time.monotonic()
        done = subprocess.run(
            self.command(playbook, *words),
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=PLAY_TIMEOUT_S,
            check=False,
        )
        return Play(done.returncode, done.stdout, time.monotonic() - begun)

    def play(self, playbook: str, *words: str) -> Play:
        """Run a playbook; it must end well."""
        play = self.try_to_play(playbook, *words)
        assert play.status == 0, f"{playbook} {' '.join(words)}:\n{play.output}"
        return play

    def play_until_task(self, number: int, log: Path, playbook: str, *words: str) -> bool:
        """Run a playbook and kill it, with all its processes, when its task of this number begins.

        Returns whether it came that far.
        """
        with log.open("w+") as written:
            process = subprocess.Popen(
                self.command(playbook, *words),
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            deadline = time.monotonic() + PLAY_TIMEOUT_S
            while process.poll() is None and time.monotonic() < deadline:
                if log.read_text().count("\nTASK [") >= number:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return True
                time.sleep(0.05)
        assert process.poll() is not None, f"{playbook} hangs:\n{log.read_text()}"
        return False

    def host(self, node: str) -> Any:
        """Return a node as testinfra sees it, as root."""
        config = f"/var/lib/beowulf/labs/{self.room.name}/ssh_config"
        return testinfra.get_host(f"ssh://{node}", ssh_config=config, sudo=True, controlpersist=120)

    def try_as_user(
        self, user: str, node: str, command: str, *, stdin: str = "", timeout_s: float = 240
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of shell on a node as one of the people of the inventory."""
        config = f"/var/lib/beowulf/labs/{self.room.name}/ssh_config"
        return subprocess.run(
            ["ssh", "-F", config, "-o", "BatchMode=yes", "-l", user, node, command],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )

    def as_user(self, user: str, node: str, command: str, *, stdin: str = "") -> str:
        """The same; it must work. Returns what it printed."""
        done = self.try_as_user(user, node, command, stdin=stdin)
        assert done.returncode == 0, f"{user}@{node}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def write(self, user: str, path: str, text: str) -> None:
        """Put a file into a user's home, through the head."""
        self.as_user(user, "head", f"cat > {shlex.quote(path)}", stdin=text)

    def submit(self, user: str, script: str, *words: str) -> str:
        """Give a batch script to Slurm as a user. Returns the job's number."""
        return self.as_user(
            user, "head", shlex.join(["sbatch", "--parsable", *words]), stdin=script
        )

    def job(self, number: str) -> dict[str, str]:
        """Return what Slurm says of a job."""
        told = self.room.on("head", f"scontrol show job --oneliner {number}")
        return dict(pair.split("=", 1) for pair in told.split() if "=" in pair)

    def wait_for_job(self, number: str, timeout_s: float = JOB_TIMEOUT_S) -> str:
        """Wait until a job has ended; return its state."""
        deadline = time.monotonic() + timeout_s
        while (state := self.job(number)["JobState"]) not in ENDED:
            assert time.monotonic() < deadline, f"job {number} is still {state}: {self.job(number)}"
            time.sleep(1)
        return state

    def sum_over(self, nodes: int, user: str = "ada") -> str:
        """Sum over nodes as a user through the queue. Returns what the job printed."""
        program, script = first_job()
        self.write(user, "sum.py", program)
        number = self.submit(user, script.replace("--nodes=4 ", f"--nodes={nodes} "))
        state = self.wait_for_job(number)
        printed = self.as_user(user, "head", "cat sum.out")
        assert state == "COMPLETED", f"{state}: {printed}"
        return printed

    def node_states(self) -> dict[str, str]:
        """Return Slurm's word for each node."""
        told = self.room.on("head", "sinfo --Node --noheader --format '%N %T'")
        return dict(line.split() for line in told.splitlines())

    def wait_until_idle(self, timeout_s: float = 240) -> None:
        """Wait until every node of the queue could take a job."""
        deadline = time.monotonic() + timeout_s
        while True:
            told = self.room.ssh("head", "sinfo --Node --noheader --format '%N %T %E'")
            states = [line.split()[1:2] for line in told.stdout.splitlines()]
            if told.returncode == 0 and states and states == [["idle"]] * len(states):
                return
            assert time.monotonic() < deadline, f"not idle: {told.stdout}{told.stderr}"
            time.sleep(1)

    def config_hash(self, node: str) -> str:
        """Return the hash of the slurm.conf that a node goes by."""
        path = "/etc/slurm/slurm.conf" if node == "head" else "/run/slurm/conf/slurm.conf"
        return self.room.on(node, f"sudo sha256sum {path}").split()[0]

"""A lab as tests handle it: by its own command line, as a person would."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.conftest import BEOWULF, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NODES = ("head", "node1", "node2", "node3")
INVENTORY = REPOSITORY / "inventory" / "lab"
PATIENCE_S = 240


@dataclass(frozen=True)
class Room:
    """One lab: run ``beowulf lab`` for it, and commands on its nodes."""

    name: str
    inventory: Path = INVENTORY

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BEOWULF_")}
        return {**kept, "BEOWULF_LAB": self.name, "BEOWULF_INVENTORY": str(self.inventory)}

    def try_to(self, *words: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        """Run ``beowulf lab`` with these words, whatever comes of it."""
        return subprocess.run(
            [BEOWULF, "lab", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )

    def __call__(self, *words: str, timeout_s: float = 900) -> str:
        """Run ``beowulf lab`` with these words; it must work. Returns what it printed."""
        done = self.try_to(*words, timeout_s=timeout_s)
        assert done.returncode == 0, f"beowulf lab {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``beowulf lab`` with these words and return it while it runs."""
        return subprocess.Popen(
            [BEOWULF, "lab", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def status(self) -> dict[str, Any]:
        """Return the lab's record of the JSON contract, the nodes by their names."""
        lab: dict[str, Any] = json.loads(self("status", "--json"))["lab"]
        return {**lab, "nodes": {node["name"]: node for node in lab["nodes"]}}

    def state(self, node: str) -> str:
        state: str = self.status()["nodes"][node]["state"]
        return state

    def ssh(
        self, node: str, command: str, *, stdin: str = "", timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of shell on a node, whatever comes of it."""
        return subprocess.run(
            [BEOWULF, "lab", "ssh", node, command],
            env=self.environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )

    def on(self, node: str, command: str, *, stdin: str = "", timeout_s: float = PATIENCE_S) -> str:
        """Run a line of shell on a node; it must work. Returns what it printed."""
        done = self.ssh(node, command, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, f"{node}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def write(self, node: str, path: str, text: str) -> None:
        """Put a file on a node."""
        self.on(node, f"sudo tee {shlex.quote(path)} > /dev/null", stdin=text)

    @contextmanager
    def running(self, node: str, command: str) -> Iterator[subprocess.Popen[str]]:
        """Keep a command running on a node, with pipes to it, for as long as the block lasts."""
        process = subprocess.Popen(
            [BEOWULF, "lab", "ssh", node, command],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    @property
    def namespace(self) -> str:
        return f"beowulf-{self.name}"

    def leftovers(self) -> list[str]:
        """Return all there is on this computer that belongs to this lab."""
        labs = Path("/var/lib/beowulf/labs")
        own = {self.name, f"{self.name}.lock"}
        found = [f"file {path}" for path in labs.glob("*") if path.name.strip(".") in own]
        namespace = Path("/run/netns", self.namespace)
        found += [f"namespace {namespace}"] if namespace.exists() else []
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        found += [f"mount {line}" for line in mounts if self.name in line]
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                if f"labs/{self.name}" in words or (
                    "beowulf.lab.keeper" in words and self.name in words
                ):
                    found.append(f"process {process.pid} {words}")
            except psutil.Error:
                continue
        return found


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.2)

"""The Vagrantfile and its provider `uml`: real Vagrant, over a stand-in for `beowulf lab`.

What they do to real machines is in tests/lab/test_vagrant.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(
    shutil.which("vagrant") is None and "CI" not in os.environ,
    reason="needs Vagrant; on Debian 12: apt install vagrant",
)

INVENTORY = """\
all:
  children:
    heads:
      hosts:
        boss: {ansible_host: 10.9.0.1, lab_mac: "02:00:00:00:00:01", lab_memory_mb: 512}
    nodes:
      hosts:
        worker: {ansible_host: 10.9.0.2, lab_mac: "02:00:00:00:00:02", lab_memory_mb: 512}
    rest:
      hosts:
        worker:
"""
# Keeps the states in a file, as a lab keeps its machines, and notes how it was called.
STAND_IN = """\
#!{python} -I
import fcntl, json, pathlib, sys
here = pathlib.Path({directory!r})
lock = (here / "lock").open("w")
fcntl.flock(lock, fcntl.LOCK_EX)
states = json.loads((here / "states.json").read_text())
_, verb, *words = sys.argv[1:]
if verb == "status":
    nodes = [dict(name=name, state=state) for name, state in states.items()]
    exists = any(state != "absent" for state in states.values())
    files = {{name: str(here / name) for name in ("ssh_config", "known_hosts", "identity")}}
    print(json.dumps(dict(schema=1, lab=dict(files, exists=exists, user="admin", nodes=nodes))))
    sys.exit(0)
with (here / "calls").open("a") as calls:
    print(json.dumps([verb, *words]), file=calls)
if (here / "refuse").exists():
    sys.exit((here / "refuse").read_text())
print(f"{{words[0]}}: {{verb}}", file=sys.stderr)
after = dict(up="on", down="off", destroy="absent", on="on", off="off", pause="paused", resume="on")
states[words[0]] = after[words[1] if verb == "power" else verb]
(here / "states.json").write_text(json.dumps(states))
"""
# In place of ssh: its arguments are what is asked for.
SSH = '#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n'


@dataclass(frozen=True)
class Vagrant:
    """Vagrant in a home of its own, over a stand-in for the command `beowulf`."""

    directory: Path

    def environment(self) -> dict[str, str]:
        ours = ("BEOWULF", "VAGRANT")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "BEOWULF": str(self.directory / "beowulf"),
            "BEOWULF_LAB": "spare",
            "BEOWULF_INVENTORY": str(self.directory / "inventory"),
            "VAGRANT_CWD": str(REPOSITORY),
            "VAGRANT_DEFAULT_PROVIDER": "uml",
            "VAGRANT_DOTFILE_PATH": str(self.directory / "dot"),
            "VAGRANT_HOME": str(self.directory / "home"),
        }

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["vagrant", *arguments],
            env={**self.environment(), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def states(self) -> dict[str, str]:
        """What `vagrant status` says of each machine."""
        finished = self("status", "--machine-readable")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        rows = [line.split(",") for line in finished.stdout.splitlines()]
        return {row[1]: row[3] for row in rows if row[2] == "state"}

    def set(self, **states: str) -> None:
        """Change the lab behind Vagrant's back."""
        (self.directory / "states.json").write_text(json.dumps(states))

    def calls(self) -> list[list[str]]:
        """How `beowulf lab` was called since this was last asked, status apart."""
        path = self.directory / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


@pytest.fixture
def vagrant(tmp_path: Path) -> Vagrant:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "hosts.yml").write_text(INVENTORY)
    program = tmp_path / "beowulf"
    program.write_text(STAND_IN.format(python=sys.executable, directory=str(tmp_path)))
    program.chmod(0o755)
    for name in ("ssh_config", "known_hosts", "identity"):
        (tmp_path / name).touch(mode=0o600)
    vagrant = Vagrant(tmp_path)
    vagrant.set(boss="absent", worker="absent")
    return vagrant


def test_the_machines_are_those_of_the_inventory(vagrant: Vagrant) -> None:
    assert vagrant.states() == {"boss": "not_created", "worker": "not_created"}


def test_every_command_becomes_one_of_beowulf_lab(vagrant: Vagrant) -> None:
    inventory = ["--inventory", str(vagrant.directory / "inventory"), "--lab", "spare"]
    up = vagrant("up")
    assert up.returncode == 0, up.stderr
    assert "worker: up" in up.stdout
    assert sorted(vagrant.calls()) == [["up", "boss", *inventory], ["up", "worker", *inventory]]
    assert vagrant.states() == {"boss": "running", "worker": "running"}
    for command, calls in [
        (["suspend"], [["power", "worker", "pause"]]),
        (["halt"], [["power", "worker", "resume"], ["down", "worker"]]),
        (["halt"], []),
        (["up"], [["up", "worker", *inventory[:2]]]),
        (["suspend"], [["power", "worker", "pause"]]),
        (["resume"], [["power", "worker", "resume"]]),
        (["reload"], [["down", "worker"], ["up", "worker", *inventory[:2]]]),
        (["halt", "--force"], [["power", "worker", "off"]]),
        (["destroy", "--force"], [["destroy", "worker"]]),
        (["reload"], []),
    ]:
        finished = vagrant(*command, "worker")
        assert finished.returncode == 0, finished.stderr
        assert vagrant.calls() == [[*call, "--lab", "spare"] for call in calls], command
    assert vagrant.states() == {"boss": "running", "worker": "not_created"}


def test_a_lab_that_beowulf_changed_is_seen_as_it_is(vagrant: Vagrant) -> None:
    vagrant.set(boss="on", worker="paused")
    assert vagrant.states() == {"boss": "running", "worker": "paused"}
    assert len(list(vagrant.directory.glob("dot/machines/*/uml/id"))) == 2
    vagrant.set(boss="off", worker="absent")
    assert vagrant.states() == {"boss": "poweroff", "worker": "not_created"}
    vagrant.set()
    assert vagrant.states() == {"boss": "not_created", "worker": "not_created"}
    assert not list(vagrant.directory.glob("dot/machines/*/uml/id"))


def test_a_lab_that_runs_is_the_one_meant_where_no_provider_is_named(vagrant: Vagrant) -> None:
    vagrant.set(boss="on", worker="on")
    finished = vagrant("status", VAGRANT_DEFAULT_PROVIDER="")
    assert "running (uml)" in finished.stdout, finished.stdout + finished.stderr


def test_ssh_checks_host_keys_against_the_labs_own(vagrant: Vagrant) -> None:
    vagrant.set(boss="on", worker="on")
    programs = vagrant.directory / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(SSH)
    (programs / "ssh").chmod(0o755)
    finished = vagrant("ssh", "worker", "-c", "date", PATH=f"{programs}:{os.environ['PATH']}")
    words = finished.stdout.splitlines()
    assert finished.returncode == 7, finished.stderr
    assert words[0] == "admin@worker"
    assert not [word for word in words if "HostKey" in word or "KnownHosts" in word]
    config = Path(words[words.index("-F") + 1]).read_text()
    assert f'GlobalKnownHostsFile "{vagrant.directory}/known_hosts"' in config
    assert f'Include "{vagrant.directory}/ssh_config"' in config


@pytest.mark.parametrize(
    ("state", "problem"), [("absent", "must be created"), ("off", "must be running")]
)
def test_ssh_to_a_node_that_is_not_on_fails(vagrant: Vagrant, state: str, problem: str) -> None:
    vagrant.set(boss="on", worker=state)
    finished = vagrant("ssh", "worker", "-c", "date")
    assert finished.returncode == 1
    assert problem in finished.stderr


def test_what_beowulf_refuses_is_said_and_fails(vagrant: Vagrant) -> None:
    (vagrant.directory / "refuse").write_text("beowulf: a lab needs root; type: sudo vagrant up")
    finished = vagrant("up", "boss")
    assert finished.returncode == 1
    assert "up: exit 1: beowulf: a lab needs root; type: sudo vagrant up" in finished.stderr
    assert vagrant.states() == {"boss": "not_created", "worker": "not_created"}


def test_a_missing_beowulf_is_named(vagrant: Vagrant) -> None:
    finished = vagrant("up", "--provider=uml", BEOWULF="/nonexistent/beowulf")
    assert finished.returncode == 1
    assert "BEOWULF=/nonexistent/beowulf: no such program" in finished.stderr


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("#!/nonexistent/python\n", "it cannot be started"),
        ("#!/bin/sh\necho usage\n", "it printed no state"),
    ],
)
def test_a_beowulf_that_does_not_work_is_named(vagrant: Vagrant, script: str, problem: str) -> None:
    program = vagrant.directory / "beowulf"
    program.write_text(script)
    finished = vagrant("up", "--provider=uml")
    assert finished.returncode == 1
    assert f"{program}" in finished.stderr
    assert problem in finished.stderr
    assert ".rb:" not in finished.stderr


def test_a_machine_without_memory_is_named(vagrant: Vagrant) -> None:
    path = vagrant.directory / "inventory" / "hosts.yml"
    path.write_text(INVENTORY.replace(", lab_memory_mb: 512", "", 1))
    finished = vagrant("status")
    assert finished.returncode == 1
    assert f"{path}: boss: lab_memory_mb missing" in finished.stderr


def test_vagrant_asks_nobody_for_newer_versions(vagrant: Vagrant) -> None:
    asked = vagrant.directory / "asked"
    library = vagrant.directory / "library"
    library.mkdir()
    asking = f"module Checkpoint\n  def self.check(*) = File.write({str(asked)!r}, '')\nend\n"
    (library / "checkpoint.rb").write_text(asking)
    elsewhere = {"VAGRANT_CWD": str(vagrant.directory), "RUBYLIB": str(library)}
    vagrant("global-status", **elsewhere)
    assert asked.exists(), "this Vagrant would not ask at all"
    asked.unlink()
    vagrant("status", RUBYLIB=str(library))
    assert not asked.exists()

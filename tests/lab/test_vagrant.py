"""A lab driven by the real Vagrant, from `vagrant up --provider=uml` to `vagrant destroy -f`."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import BEOWULF, REPOSITORY
from tests.lab.room import NODES, Room

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    shutil.which("vagrant") is None and "CI" not in os.environ,
    reason="needs Vagrant; on Debian 12: apt install vagrant",
)


@dataclass(frozen=True)
class Vagrant:
    """Vagrant in a home of its own, for one lab."""

    directory: Path
    room: Room

    def __call__(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; it must work, or with ``fails`` it must not."""
        kept = {k: v for k, v in self.room.environment.items() if not k.startswith("VAGRANT_")}
        done = subprocess.run(
            ["vagrant", *arguments],
            env={
                **kept,
                "BEOWULF": str(BEOWULF),
                "VAGRANT_CHECKPOINT_DISABLE": "1",
                "VAGRANT_CWD": str(REPOSITORY),
                "VAGRANT_DEFAULT_PROVIDER": "uml",
                "VAGRANT_DOTFILE_PATH": str(self.directory / "dot"),
                "VAGRANT_HOME": str(self.directory / "home"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=900,
            check=False,
        )
        said = f"vagrant {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        assert (done.returncode != 0) == fails, said
        return done

    def states(self) -> dict[str, str]:
        """What `vagrant status` says of each machine."""
        rows = [line.split(",") for line in self("status", "--machine-readable").stdout.split("\n")]
        return {row[1]: row[3] for row in rows if row[2:3] == ["state"]}


@pytest.fixture
def vagrant(own_room: Room, tmp_path: Path) -> Vagrant:
    return Vagrant(tmp_path, own_room)


def all_are(state: str) -> dict[str, str]:
    return dict.fromkeys(NODES, state)


@contextmanager
def keys_of_others(status: dict[str, Any], node: str) -> Iterator[None]:
    """Let the lab's known hosts hold, for this node, the keys of all the others instead."""
    path = Path(status["known_hosts"])
    right = path.read_text()
    lines = [line.split(" ", 1) for line in right.splitlines()]
    own = {names for names, _ in lines if node in names.split(",")}
    keys = [key for names, key in lines if names not in own]
    assert own, right
    assert keys, right
    try:
        path.write_text("".join(f"{names} {key}\n" for names in own for key in keys))
        yield
    finally:
        path.write_text(right)


def test_vagrant_drives_the_lab_from_up_to_destroy(vagrant: Vagrant, tmp_path: Path) -> None:
    assert vagrant.states() == all_are("not_created")
    vagrant("up", "--provider=uml")
    assert vagrant.states() == all_are("running")

    for node in ("head", "node1"):
        assert vagrant("ssh", node, "-c", "hostname").stdout.split() == [node]
    letter = tmp_path / "letter"
    letter.write_text("dear node1\n")
    vagrant("upload", str(letter), "/home/admin/letter", "node1")
    with keys_of_others(vagrant.room.status(), "node1"):
        refused = vagrant("ssh", "node1", "-c", "true", fails=True)
        assert "Host key verification failed" in refused.stderr
        refused = vagrant("upload", str(letter), "/home/admin/forged", "node1", fails=True)
        assert "fingerprint" in refused.stderr

    vagrant("suspend", "node2")
    vagrant.room("power", "node3", "off")
    assert vagrant.states() == {**all_are("running"), "node2": "paused", "node3": "poweroff"}
    vagrant("halt")
    assert vagrant.states() == all_are("poweroff")

    vagrant("up", "node1")
    assert vagrant.states() == {**all_are("poweroff"), "node1": "running"}
    kept = vagrant("ssh", "node1", "-c", "ls; cat letter").stdout
    assert kept.split("\n")[:2] == ["letter", "dear node1"]

    vagrant("destroy", "-f")
    assert vagrant.states() == all_are("not_created")
    assert vagrant.room.leftovers() == []

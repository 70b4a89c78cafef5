"""The cluster's mpirun chooses ports that are free, and changes nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from tests.conftest import REPOSITORY

ROLES = REPOSITORY / "playbooks" / "roles"
PORTS = "PRTE_MCA_oob_tcp_dynamic_ipv4_ports"
RECORD = """#!/bin/sh
printf '%s\\0' "${PRTE_MCA_oob_tcp_dynamic_ipv4_ports-unset}" "$@" > "$RECORD"
exit 7
"""
ARGUMENTS = ["-n", "2", "a b", "", "*", "$HOME", "`id`", "\\n", "line\nbreak\n", "'\"", "-", "Zoë"]

pytestmark = pytest.mark.skipif(not shutil.which("ss"), reason="ss is not here")


def defaults() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLES / "mpi/defaults/main.yml").read_text())
    return found


def free_block(count: int) -> int:
    """Return the first of so many ports on which nothing listens."""
    for first in range(20000, 30000, count):
        try:
            sockets = [socket.create_server(("127.0.0.1", first + i)) for i in range(count)]
        except OSError:
            continue
        for listening in sockets:
            listening.close()
        return first
    raise AssertionError("no ports are free")


class Mpirun:
    """The wrapper, in front of a program that notes how it was called."""

    def __init__(self, directory: Path, **words: int) -> None:
        text = (ROLES / "mpi/templates/mpirun.sh.j2").read_text()
        environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)  # noqa: S701
        environment.filters["comment"] = lambda line: f"#\n# {line}\n#"
        rendered = environment.from_string(text).render(
            {**defaults(), **words, "ansible_managed": "Ansible managed"}
        )
        self.record = directory / "record"
        self.programs = directory / "real"
        self.programs.mkdir()
        self.wrappers = directory / "local bin"
        self.wrappers.mkdir()
        assert "/usr/bin/" in rendered
        for name in ("mpirun", "mpiexec"):
            program, wrapper = self.programs / name, self.wrappers / name
            program.write_text(RECORD)
            wrapper.write_text(rendered.replace("/usr/bin/", f"{self.programs}/"))
            program.chmod(0o755)
            wrapper.chmod(0o755)

    def __call__(self, *arguments: str, name: str = "mpirun", **environment: str) -> list[str]:
        """Return what the program saw: its ports, then its arguments."""
        self.record.unlink(missing_ok=True)
        done = subprocess.run(
            [self.wrappers / name, *arguments],
            env={"PATH": os.environ["PATH"], "RECORD": str(self.record), **environment},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")
        return self.record.read_text().split("\0")[:-1]


@pytest.mark.parametrize("name", ["mpirun", "mpiexec"])
def test_arguments_and_the_exit_status_pass_as_they_are(name: str, tmp_path: Path) -> None:
    mpirun = Mpirun(tmp_path)
    assert mpirun(*ARGUMENTS, name=name)[1:] == ARGUMENTS
    assert mpirun(name=name)[1:] == []


def test_the_program_that_was_called_is_run_whatever_the_path(tmp_path: Path) -> None:
    mpirun = Mpirun(tmp_path)
    (mpirun.programs / "mpirun").unlink()
    mpirun("x", name="mpiexec")
    (mpirun.wrappers / "link").symlink_to("mpiexec")
    (mpirun.programs / "link").symlink_to("mpiexec")
    mpirun("x", name="link")


def test_each_run_has_ports_of_its_own_within_the_roles_range(tmp_path: Path) -> None:
    words = defaults()
    first, count = words["mpi_daemon_port_first"], words["mpi_daemon_port_count"]
    mpirun = Mpirun(tmp_path)
    seen = set()
    for _ in range(8):
        low, high = map(int, mpirun("x")[0].split("-"))
        assert first <= low <= high < first + count
        assert high - low == words["mpi_daemon_ports_per_run"] - 1
        assert (low - first) % words["mpi_daemon_ports_per_run"] == 0
        seen.add(low)
    assert len(seen) > 1


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])  # noqa: S104
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_block_is_taken_in_which_nothing_listens(
    address: str, place: int, tmp_path: Path
) -> None:
    first = free_block(6)
    mpirun = Mpirun(
        tmp_path, mpi_daemon_port_first=first, mpi_daemon_port_count=6, mpi_daemon_ports_per_run=3
    )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if address == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with socket.create_server((address, first + place), family=family):
        assert {mpirun("x")[0] for _ in range(6)} == {f"{first + 3}-{first + 5}"}
    with socket.create_server((address, first + 3 + place), family=family):
        assert {mpirun("x")[0] for _ in range(6)} == {f"{first}-{first + 2}"}


def test_where_all_are_taken_open_mpi_says_so_itself(tmp_path: Path) -> None:
    first = free_block(2)
    mpirun = Mpirun(
        tmp_path, mpi_daemon_port_first=first, mpi_daemon_port_count=2, mpi_daemon_ports_per_run=2
    )
    with socket.create_server(("127.0.0.1", first)):
        assert mpirun("x") == [f"{first}-{first + 1}", "x"]


def test_ports_that_the_user_chose_stay(tmp_path: Path) -> None:
    assert Mpirun(tmp_path)("x", **{PORTS: "5000-5001"}) == ["5000-5001", "x"]


def test_the_environments_commands_are_run_as_they_are_called(tmp_path: Path) -> None:
    text = (ROLES / "training/files/program.sh").read_text()
    (tmp_path / "venv").mkdir()
    program, wrapper = tmp_path / "venv" / "beowulf", tmp_path / "beowulf"
    program.write_text(RECORD)
    wrapper.write_text(text.replace("/opt/beowulf/venv/bin", str(program.parent)))
    for path in (program, wrapper):
        path.chmod(0o755)
    record = tmp_path / "record"
    done = subprocess.run([wrapper, *ARGUMENTS], env={"RECORD": str(record)}, check=False)
    assert done.returncode == 7
    assert record.read_text().split("\0")[1:-1] == ARGUMENTS

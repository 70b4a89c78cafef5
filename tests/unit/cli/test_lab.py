"""``beowulf lab`` on the command line: what it shows without a lab, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from beowulf.cli.main import run
from beowulf.lab import process
from beowulf.lab.directory import LabDirectory
from beowulf.lab.settings import Settings, write_settings
from tests.conftest import BEOWULF, Beowulf
from tests.unit.cli.conftest import assert_refused
from tests.unit.lab.lab_host import skip_where_no_lab_can_run
from tests.unit.lab.plans import PLAN
from tests.unit.test_imports import SLOW

HOSTS = """
all:
  vars: {lab_subnet: 10.77.0.0/24}
  children:
    nodes:
      hosts:
        node1: {ansible_host: 10.77.0.11, lab_mac: "02:be:0f:77:00:11", lab_memory_mb: 512}
        node2: {ansible_host: 10.77.0.12, lab_mac: "02:be:0f:77:00:12", lab_memory_mb: 256}
"""
NOBODY = 65_534


@pytest.fixture
def labs(tmp_path: Path) -> Path:
    """An inventory, and a place for labs in which there is none; return the latter."""
    (tmp_path / "inventory" / "lab").mkdir(parents=True)
    (tmp_path / "inventory" / "lab" / "hosts.yml").write_text(HOSTS)
    return tmp_path / "lab-state"


@pytest.fixture
def environment(environment: dict[str, str], labs: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a user without labs."""
    return {
        **environment,
        "BEOWULF_LAB_STATE_DIR": str(labs),
        "BEOWULF_LAB_CACHE_DIR": str(tmp_path / "lab-cache"),
    }


@pytest.fixture
def made(labs: Path, tmp_path: Path) -> LabDirectory:
    """A lab whose first node was made and is off. It has no network."""
    directory = LabDirectory(labs / "labs" / "lab")
    directory.node("node1").path.mkdir(parents=True)
    directory.node("node1").disk.write_bytes(bytes(200_000))
    write_settings(directory, Settings(PLAN, "bare", tmp_path / "base", tmp_path))
    return directory


def status_of(answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.count("\n") == 1
    document = json.loads(answer.stdout)
    assert document["schema"] == 1
    assert set(document) == {"schema", "lab"}
    lab: dict[str, Any] = document["lab"]
    return lab


# --- Looking --------------------------------------------------------------------------------


def test_the_status_of_no_lab_is_what_it_would_be(beowulf: Beowulf, labs: Path) -> None:
    lab = status_of(beowulf("lab", "status", "--json", "--lab", "mine"))
    where = labs / "labs" / "mine"
    assert {key: value for key, value in lab.items() if key != "nodes"} == {
        "name": "mine",
        "directory": str(where),
        "exists": False,
        "ssh_config": str(where / "ssh_config"),
        "known_hosts": str(where / "known_hosts"),
        "identity": str(where / "id_ed25519"),
        "user": "admin",
    }
    first, second = lab["nodes"]
    assert first == {
        "name": "node1", "address": "10.77.0.11", "mac": "02:be:0f:77:00:11", "memory_mb": 512,
        "state": "absent", "cable": None, "rate": None, "image": None, "disk_mb": 0.0, "pid": None,
    }  # fmt: skip
    assert second["name"] == "node2"
    assert not labs.exists()


def test_the_status_of_no_lab_in_words(beowulf: Beowulf) -> None:
    answer = beowulf("lab", "status", "node2", "--lab", "mine")
    assert answer.returncode == 0
    assert answer.stderr == "there is no lab mine yet; beowulf lab up would make it:\n"
    heading, row = answer.stdout.splitlines()
    assert heading.split() == ["NODE", "STATE", "ADDRESS", "MEMORY", "CABLE", "IMAGE", "DISK"]
    assert row.split() == ["node2", "absent", "10.77.0.12", "256", "MB", "-", "-", "0.0", "MB"]


def test_the_status_of_a_lab_needs_no_inventory(
    beowulf: Beowulf, made: LabDirectory, tmp_path: Path
) -> None:
    (tmp_path / "inventory" / "lab" / "hosts.yml").unlink()
    lab = status_of(beowulf("lab", "status", "--json"))
    assert lab["exists"] is True
    assert [(node["name"], node["state"], node["image"]) for node in lab["nodes"]] == [
        ("node1", "off", "bare"), ("node2", "absent", None)
    ]  # fmt: skip
    assert lab["nodes"][0]["disk_mb"] == pytest.approx(0.2, abs=0.05)


@pytest.fixture
def seen_by_all(environment: dict[str, str]) -> Iterator[LabDirectory]:
    """A lab like ``made``, where not only its owner may look. pytest's own places are closed."""
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    with tempfile.TemporaryDirectory(prefix="beowulf-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        directory = LabDirectory(place / "labs" / "lab")
        directory.node("node1").path.mkdir(parents=True)
        write_settings(directory, Settings(PLAN, "bare", place / "base", place))
        environment["BEOWULF_LAB_STATE_DIR"] = name
        environment["BEOWULF_LAB_CACHE_DIR"] = f"{name}/cache"
        yield directory


@pytest.fixture
def able() -> None:
    """Skip the test where something would be refused for the computer's sake."""
    skip_where_no_lab_can_run()


def as_nobody(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``beowulf`` as somebody who is not root.

    Its code is loaded before root's rights are given up, for only root may be able to
    read it. Programs are found in directories that everybody can read.
    """
    code = (
        "import os, beowulf.cli.lab, beowulf.lab.snapshot; from beowulf.cli.main import main;"
        f"os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3);"
        f"main({list(words)!r})"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.root
def test_somebody_else_than_root_sees_which_node_is_on(
    seen_by_all: LabDirectory, environment: dict[str, str]
) -> None:
    # A shell in whose place a node's kernel would be: a child of the process on record.
    script = "sleep 1000 & echo; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as outer:
        assert outer.stdout is not None
        outer.stdout.readline()
        (kernel,) = psutil.Process(outer.pid).children()
        process.record(seen_by_all.node("node1").process, outer.pid)
        lab = status_of(as_nobody(environment, "lab", "status", "--json"))
        kernel.kill()
        outer.kill()
    assert [(node["state"], node["pid"]) for node in lab["nodes"]] == [
        ("on", kernel.pid), ("absent", None)
    ]  # fmt: skip
    assert [node["cable"] for node in lab["nodes"]] == [None, None]


@pytest.mark.root
@pytest.mark.parametrize(
    "words",
    [["up"], ["down"], ["destroy"], ["ssh", "node1"], ["power", "node1", "off"],
     ["cable", "node1", "cut"], ["snapshot", "save", "a"], ["snapshot", "restore", "a"],
     ["image", "bare"]],
    ids=" ".join,
)  # fmt: skip
def test_somebody_else_than_root_is_told_so_and_nothing_is_touched(
    seen_by_all: LabDirectory, environment: dict[str, str], words: list[str]
) -> None:
    place = seen_by_all.path.parents[1]
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    answer = as_nobody(environment, "lab", *words)
    assert_refused(
        answer, "only root may handle a lab: ", "run it as root (sudo)", status=1, state=None
    )
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


@pytest.mark.parametrize(
    "words", [["up"], ["destroy"], ["snapshot", "save", "a"], ["cable", "node1", "cut"]]
)
def test_who_is_not_root_is_told_so(
    words: list[str],
    labs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BEOWULF_LAB_STATE_DIR", str(labs))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run(["lab", *words]) == 1
    said = capsys.readouterr().err
    assert said.endswith("run it as root (sudo)\n")
    assert said.count("\n") == 1
    assert not labs.exists()


def test_no_labs(beowulf: Beowulf) -> None:
    answer = beowulf("lab", "list")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert answer.stderr == "no lab yet; make one with: beowulf lab up\n"
    assert json.loads(beowulf("lab", "list", "--json").stdout) == {"schema": 1, "labs": []}


def test_the_labs_there_are(beowulf: Beowulf, made: LabDirectory) -> None:
    (made.path.parent / "another").mkdir()
    assert beowulf("lab", "list").stdout == "another\nlab\n"
    assert json.loads(beowulf("lab", "list", "--json").stdout)["labs"] == [
        {"name": "another"}, {"name": "lab"}
    ]  # fmt: skip


def test_colours_are_for_terminals_that_want_them(
    labs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BEOWULF_LAB_STATE_DIR", str(labs))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("click._compat.isatty", lambda _: True)  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    for variable, coloured in (("UNRELATED", True), ("NO_COLOR", False)):
        monkeypatch.setenv(variable, "1")
        assert run(["lab", "status"]) == 0
        assert ("\x1b[" in capsys.readouterr().out) == coloured


# --- Refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["status"], ["up"]], ids=" ".join)
def test_no_inventory(beowulf: Beowulf, tmp_path: Path, words: list[str], labs: Path) -> None:
    if words == ["up"]:
        skip_where_no_lab_can_run()
    (tmp_path / "elsewhere").mkdir()
    answer = beowulf("lab", *words, cwd=tmp_path / "elsewhere")
    assert_refused(
        answer, "--inventory: there is no inventory/lab; name a directory or file", state=labs
    )


def test_an_inventory_that_is_broken(beowulf: Beowulf, tmp_path: Path, labs: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("all:\n  hosts: [\n")
    answer = beowulf("lab", "status", "--inventory", broken)
    assert_refused(answer, f"{broken}: Ansible cannot read it: ", f" at {broken}:", state=labs)


def test_an_inventory_of_other_machines(beowulf: Beowulf, tmp_path: Path, labs: Path) -> None:
    (tmp_path / "hosts").write_text("pc1\npc2 lab_subnet=10.0.0.0/24\n")
    answer = beowulf("lab", "status", "--inventory", "hosts")
    assert_refused(answer, "lab_subnet: machines differ: none, 10.0.0.0/24; ", state=labs)


def test_a_name_for_no_lab(beowulf: Beowulf, labs: Path) -> None:
    for name in ("../x", "", "A", "x" * 32):
        answer = beowulf("lab", "status", "--lab", name)
        assert_refused(answer, "--lab: ", "is no name; use up to 31 small letters", state=labs)
    answer = beowulf("lab", "status", env={"BEOWULF_LAB": "a b"})
    assert_refused(answer, "--lab: 'a b' is no name", state=labs)


def test_a_place_that_can_hold_no_lab(beowulf: Beowulf) -> None:
    answer = beowulf("lab", "status", env={"BEOWULF_LAB_STATE_DIR": "/my labs"})
    assert_refused(answer, "BEOWULF_LAB_STATE_DIR: /my labs cannot hold a lab; name ", state=None)


def test_a_node_that_there_is_not(beowulf: Beowulf, labs: Path) -> None:
    answer = beowulf("lab", "status", "node7")
    assert_refused(answer, "no node node7; it has: node1, node2", status=4, state=labs)


@pytest.mark.usefixtures("able")
@pytest.mark.root
@pytest.mark.parametrize(
    "words",
    [["ssh", "node1"], ["down"], ["power", "node1", "on"], ["cable", "node1", "heal"],
     ["cable", "node1", "rate", "1mbit"], ["snapshot", "save", "a"], ["snapshot", "restore", "a"]],
    ids=" ".join,
)  # fmt: skip
def test_a_lab_that_there_is_not(beowulf: Beowulf, labs: Path, words: list[str]) -> None:
    answer = beowulf("lab", *words, "--lab", "mine") if words[0] != "ssh" else beowulf(
        "lab", "ssh", "--lab", "mine", "node1"
    )  # fmt: skip
    assert_refused(
        answer, "there is no lab mine; to make it: beowulf lab up --lab mine", status=4, state=labs
    )


@pytest.mark.usefixtures("able")
@pytest.mark.root
def test_a_node_of_no_inventory_is_refused_before_an_image_is_made(
    beowulf: Beowulf, labs: Path, environment: dict[str, str]
) -> None:
    answer = beowulf("lab", "up", "node7")
    assert_refused(answer, "no node node7; it has: node1, node2", status=4, state=labs)
    assert not labs.exists()
    assert not Path(environment["BEOWULF_LAB_CACHE_DIR"]).exists()


@pytest.mark.usefixtures("able")
@pytest.mark.root
def test_a_snapshot_that_there_is_not(beowulf: Beowulf, made: LabDirectory) -> None:
    answer = beowulf("lab", "snapshot", "restore", "clean")
    assert_refused(answer, "there is no snapshot clean; there are: none", status=4, state=None)
    answer = beowulf("lab", "snapshot", "save", "../x")
    assert_refused(answer, "NAME: '../x' is no name", state=None)


@pytest.mark.parametrize(
    "words",
    [["node1", "rate"], ["node1", "cut", "100mbit"], ["node1", "heal", "100mbit"]],
    ids=" ".join,
)
def test_a_rate_goes_with_its_action_alone(beowulf: Beowulf, labs: Path, words: list[str]) -> None:
    answer = beowulf("lab", "cable", *words)
    assert_refused(
        answer,
        "a rate goes with the action rate, as in: cable node1 rate 100mbit",
        "see: beowulf lab cable --help",
        state=labs,
    )


@pytest.mark.parametrize(
    "words",
    [[], ["nonsense"], ["power", "node1"], ["power", "node1", "explode"], ["cable"],
     ["snapshot", "save"], ["image", "large"], ["up", "--image", "large"], ["status", "--wrong"],
     ["ssh"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_command(beowulf: Beowulf, labs: Path, words: list[str]) -> None:
    answer = beowulf("lab", *words)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    assert "--help" in answer.stderr
    assert not labs.exists()


# --- Starting -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["lab", "--help"], ["lab", "up", "--help"]], ids=" ".join)
def test_help_starts_without_slow_libraries(words: list[str]) -> None:
    code = (
        "import sys; from beowulf.cli.main import run; status = run(sys.argv[1:]);"
        "print(status, *{name.split('.')[0] for name in sys.modules})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    status, *loaded = answer.stdout.splitlines()[-1].split()
    assert status == "0"
    assert "Usage: beowulf lab" in answer.stdout
    assert set(loaded) & {*SLOW, "asyncio"} == set()


def test_every_verb_explains_itself(beowulf: Beowulf) -> None:
    listed = beowulf("lab", "--help").stdout
    for verb in ("up", "status", "list", "ssh", "down", "destroy", "power", "cable", "snapshot",
                 "image"):  # fmt: skip
        assert f"  {verb} " in listed
        answer = beowulf("lab", verb, "--help")
        assert answer.returncode == 0
        assert answer.stdout.startswith(f"Usage: beowulf lab {verb}")


def test_the_shell_completes_nodes(made: LabDirectory, environment: dict[str, str]) -> None:
    words = {"COMP_WORDS": "beowulf lab power no", "COMP_CWORD": "3"}
    answer = subprocess.run(
        [BEOWULF], env={**environment, **words, "_BEOWULF_COMPLETE": "bash_complete"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.stdout.split() == ["plain,node1", "plain,node2"]
    assert answer.stderr == ""


def test_the_shell_completes_nothing_where_there_is_no_lab(environment: dict[str, str]) -> None:
    words = {"COMP_WORDS": "beowulf lab power no", "COMP_CWORD": "3"}
    answer = subprocess.run(
        [BEOWULF], env={**environment, **words, "_BEOWULF_COMPLETE": "bash_complete"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (answer.stdout.strip(), answer.stderr) == ("", "")


# --- Images ---------------------------------------------------------------------------------


def test_only_images_that_no_lab_stands_on_are_removed(
    beowulf: Beowulf, made: LabDirectory, tmp_path: Path
) -> None:
    skip_where_no_lab_can_run()
    images = tmp_path / "lab-cache" / "images"
    used, unused = images / f"bare-{'0' * 16}", images / f"bare-{'1' * 16}"
    for image in (used, unused):
        image.mkdir(parents=True)
    write_settings(made, Settings(PLAN, "bare", used / "base.raw", tmp_path))
    removed = beowulf("lab", "image", "--remove-unused")
    assert (removed.returncode, removed.stderr) == (0, f"removed {unused}\n")
    assert used.is_dir()
    assert not unused.exists()


@pytest.mark.parametrize(
    "words", [(), ("bare", "--remove-unused"), ("--remove-unused", "--rebuild"), ("--rebuild",)]
)
def test_an_image_is_named_or_unused_ones_are_removed(
    beowulf: Beowulf, words: tuple[str, ...]
) -> None:
    refused = beowulf("lab", "image", *words)
    assert refused.returncode == 2
    assert "name the image to make, or say --remove-unused and nothing else" in refused.stderr

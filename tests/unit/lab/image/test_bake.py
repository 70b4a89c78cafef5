"""mmdebstrap is called with what the recipe says, and its words are understood."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import LabError
from beowulf.lab.image import alone
from beowulf.lab.image import bake as module
from beowulf.lab.image.alone import ALONE
from beowulf.lab.image.bake import Progress, bake, mmdebstrap_words, why_failed
from beowulf.lab.image.recipe import Kernel, Recipe, Step

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = ("deb http://mirror.example/debian trixie main",)
STEP = Step("a b", ("/opt/it's here/step.sh", "two words", "$HOME"))
RECIPE = Recipe("bare", "trixie", SOURCES, ("systemd", "sudo"), Kernel("1", Path("/6.1")), (STEP,))


def test_packages_come_through_the_proxy_from_the_recipe_s_sources() -> None:
    words = mmdebstrap_words(RECIPE, Path("/images/tree"), 3128)
    assert words[0] == "mmdebstrap"
    assert "--include=systemd,sudo" in words
    assert '--aptopt=Acquire::http::Proxy "http://127.0.0.1:3128"' in words
    assert words[-3:] == ["trixie", "/images/tree", *SOURCES]


def test_a_step_is_handed_its_words_unchanged_and_the_tree_last(tmp_path: Path) -> None:
    script = tmp_path / "it's here.sh"
    script.write_text('#!/bin/sh\nfor word; do echo "<$word>"; done\n')
    script.chmod(0o755)
    step = Step("a b", (str(script), "two words", "$HOME"))
    recipe = Recipe("bare", "trixie", SOURCES, (), RECIPE.kernel, (step,))
    words = mmdebstrap_words(recipe, Path("/images/tree"), 3128)
    hook = next(w for w in words if w.startswith("--customize-hook=")).partition("=")[2]
    # As mmdebstrap runs a hook, by its manual.
    ran = subprocess.run(
        ["sh", "-c", hook, "exec", "/the/tree"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["lab-step: a b", "<two words>", "<$HOME>", "</the/tree>"]


def test_phases_and_steps_are_told_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 20.0, 23.0, 30.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    told: list[str] = []
    progress = Progress("bare", told.append)
    for line in (
        "I: automatically chosen mode: root\n",
        "I: downloading packages with apt...\n",
        "Get:1 http://mirror.example trixie\n",
        "lab-step: files\n",
        "lab-step: finish\n",
    ):
        progress.read(line)
    assert told == [
        "image bare: fetching packages",
        "image bare: step files",
        "image bare: step finish",
    ]
    assert progress.times_s() == {"packages": 20.0, "step files": 3.0, "step finish": 7.0}


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        (
            "I: running apt-get update...\nE: Unable to locate package slurmdd\nE: failed\n",
            "exit 25: E: Unable to locate package slurmdd",
        ),
        (
            "lab-step: finish\nuseradd: user 'admin' already exists\nE: command failed: x\n",
            "exit 25: useradd: user 'admin' already exists",
        ),
        ("setpriv: failed\n", "exit 25: setpriv: failed"),
        ("", "exit 25: it printed nothing"),
    ],
)
def test_the_first_cause_is_named_not_what_followed_from_it(printed: str, why: str) -> None:
    assert why_failed(printed.splitlines(), 25) == why


def fake_mmdebstrap(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(alone, "ALONE", ())
    monkeypatch.setattr(module, "TOOLS", {})
    monkeypatch.setattr(module, "mmdebstrap_words", lambda *_: ["sh", "-c", script])


def test_a_failure_is_one_line_and_everything_printed_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_mmdebstrap(monkeypatch, "echo one; echo 'E: two' >&2; exit 3")
    with pytest.raises(LabError, match=r"^image bare: exit 3: E: two$"):
        bake(RECIPE, tmp_path / "tree", 1, tmp_path / "log", lambda _: None)
    assert (tmp_path / "log").read_text() == "one\nE: two\n"


def test_a_build_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_mmdebstrap(monkeypatch, "echo begun; exec sleep 1000")
    monkeypatch.setattr(module, "LONGEST_S", 0.2)
    began = time.monotonic()
    with pytest.raises(LabError, match="exit -9: begun"):
        bake(RECIPE, tmp_path / "tree", 1, tmp_path / "log", lambda _: None)
    assert time.monotonic() - began < 60


def test_an_interrupted_build_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_mmdebstrap(monkeypatch, f"echo lab-step: x; echo $$ > {shlex.quote(str(tmp_path))}/pid; "
                    "exec sleep 1000")  # fmt: skip

    def interrupt(_: str) -> None:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bake(RECIPE, tmp_path / "tree", 1, tmp_path / "log", interrupt)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_missing_program_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"mmdebstrap: .* apt-get install mmdebstrap"):
        bake(RECIPE, tmp_path / "tree", 1, tmp_path / "log", lambda _: None)


@pytest.mark.root
def test_what_a_build_starts_ends_with_it_even_if_it_is_killed(tmp_path: Path) -> None:
    """The builder is killed with SIGKILL: neither its processes nor its mounts stay."""
    script = (
        f"mkdir {tmp_path}/mnt; mount -t tmpfs none {tmp_path}/mnt; "
        f"setsid sleep 999.25 & touch {tmp_path}/begun; wait"
    )
    builder = (
        "import subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=False)\n"
    )  # fmt: skip
    process = subprocess.Popen(
        ["python3", "-c", builder, *ALONE, "sh", "-c", script], stdin=subprocess.DEVNULL
    )
    try:
        wait_for((tmp_path / "begun").exists)
        wait_for(sleepers)  # forked, but perhaps not yet what it is to become
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not sleepers())
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if words == b"sleep\0" + b"999.25\0":
            found.append(path.parent.name)
    return found


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

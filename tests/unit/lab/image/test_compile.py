"""A kernel is compiled once, whole or not at all, from a source that can do what is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import CommandFailed, LabError
from beowulf.lab.image import alone
from beowulf.lab.image import compile as module
from beowulf.lab.image.compile import (
    OPTIONS,
    compile_kernel,
    compiled_kernel,
    lacking_packages,
    lost,
    why_failed,
)
from beowulf.lab.image.mirrors import Mirrors
from beowulf.lab.image.source import Source, chosen
from beowulf.lab.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "7.2.12-beowulf"
# Stands for make: writes what the kernel's own Makefile would, and fails where it is told to.
MAKE = """#!/bin/bash
for word; do
  case "$word" in
    O=*) build="${word#O=}" ;;
    INSTALL_MOD_PATH=*) installed="${word#INSTALL_MOD_PATH=}" ;;
    KCONFIG_ALLCONFIG=*) options="${word#KCONFIG_ALLCONFIG=}" ;;
  esac
done
mkdir -p "$build/include/config"
echo VERSION > "$build/include/config/kernel.release"
case "${!#}" in
  allnoconfig) grep -v -x -e "LEFT_OUT" "$options" > "$build/.config" ;;
  modules)
    for number in {1..250}; do echo "  CC      fs/file$number.o"; done
    FAIL
    cp /bin/true "$build/linux" ;;
  modules_install)
    mkdir -p "$installed/lib/modules/VERSION"
    ln -s "$build" "$installed/lib/modules/VERSION/build"
    touch "$installed/lib/modules/VERSION/modules.builtin" ;;
esac
"""


class Maker:
    """Everything that a compilation takes, with a program in the place of make."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._make = folder / "make"
        self.fetched = 0
        self.wrong: Exception | None = None
        self.let("nothing")
        # ALONE needs root, and the kernel's make is found where the system has it.
        monkeypatch.setattr(alone, "ALONE", ("env", f"PATH={folder}:/usr/bin:/bin"))
        monkeypatch.setattr(
            module, "find_mirrors", lambda: Mirrors(("deb http://m/d trixie main",))
        )
        monkeypatch.setattr(module, "ensure_proxy", lambda *_: Proxy(3128, 1, 1))
        monkeypatch.setattr(module, "fetch_source", self.fetch)
        monkeypatch.setattr(module, "_unpack", lambda _, folder: folder)
        monkeypatch.setattr(module, "TOOLS", {})

    def let(self, left_out: str, fail: str = "") -> None:
        text = MAKE.replace("VERSION", VERSION).replace("LEFT_OUT", left_out)
        self._make.write_text(text.replace("FAIL", fail))
        self._make.chmod(0o755)

    def fetch(self, home: Path, place: str, port: int) -> Source:
        assert (place, port) == ("http://m/d", 3128)
        assert list(home.iterdir()) == []
        if self.wrong:
            raise self.wrong
        self.fetched += 1
        return Source("linux-source-7.2", f"7.2.{self.fetched}", home / "source.deb")


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    (tmp_path / "bin").mkdir()
    return Maker(tmp_path / "bin", monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def silent(_: str) -> None:
    """Take a report and keep it."""


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "kernels").iterdir() if path.name != "lock")


def test_a_kernel_is_compiled_once(maker: Maker, cache: Path) -> None:
    assert compiled_kernel(cache) is None
    said: list[str] = []
    kernel = compile_kernel(cache, said.append)
    assert kernel.version == VERSION
    assert kernel.package.startswith("linux-source-7.2 7.2.1 ")
    assert Path(kernel.program).stat().st_mode & 0o111
    assert [path.name for path in kernel.modules.iterdir()] == ["modules.builtin"]
    assert "compiled 200 files of about 1100" in said
    assert compile_kernel(cache, silent) == compiled_kernel(cache) == kernel
    assert maker.fetched == 1
    assert len(names(cache)) == 1


def test_another_one_is_compiled_beside_it(
    maker: Maker, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((1000.0, 2000.0))
    monkeypatch.setattr("time.time", lambda: next(times))
    first = compile_kernel(cache, silent)
    second = compile_kernel(cache, silent, rebuild=True)
    assert maker.fetched == 2
    assert Path(first.program).exists()
    assert compiled_kernel(cache) == second != first


def test_one_with_other_options_is_not_taken(
    maker: Maker, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_kernel(cache, silent)
    other = tmp_path / "kernel.config"
    other.write_text(OPTIONS.read_text() + "CONFIG_TUN=y\n")
    monkeypatch.setattr(module, "OPTIONS", other)
    assert compiled_kernel(cache) is None
    compile_kernel(cache, silent)
    assert maker.fetched == 2


@pytest.mark.parametrize("damage", ["", "{}", '{"version": 3}', '{"version": "7", "made": "x"}'])
def test_a_damaged_record_is_no_kernel(maker: Maker, cache: Path, damage: str) -> None:
    kernel = compile_kernel(cache, silent)
    (Path(kernel.program).parent / "kernel.json").write_text(damage)
    assert compiled_kernel(cache) is None


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (
            lambda maker: maker.let("CONFIG_NFSD=y"),
            "kernel: linux-source-7.2 has no CONFIG_NFSD=y; see ",
        ),
        (
            lambda maker: maker.let("nothing", "echo 'fs/a.c:3: error: no such thing'; exit 2"),
            "kernel: make modules: fs/a.c:3: error: no such thing",
        ),
        (
            lambda maker: setattr(maker, "wrong", CommandFailed("apt-get: exit 100: no route")),
            "kernel: apt-get: exit 100: no route",
        ),
    ],
)
def test_what_goes_wrong_leaves_nothing(
    maker: Maker, cache: Path, break_it: Callable[[Maker], None], said: str
) -> None:
    break_it(maker)
    with pytest.raises(LabError) as refusal:
        compile_kernel(cache, silent)
    assert str(refusal.value).startswith(said)
    assert names(cache) == []


def test_what_a_killed_one_left_is_removed(maker: Maker, cache: Path) -> None:
    (cache / "kernels/.building-x").mkdir(parents=True)
    compile_kernel(cache, silent)
    assert len(names(cache)) == 1
    assert names(cache)[0].startswith(VERSION)


def test_missing_programs_are_named_with_their_packages(
    maker: Maker, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOOLS", {"no-such-cc": "gcc libc6-dev", "sh": "dash"})
    assert lacking_packages() == ["gcc libc6-dev"]
    with pytest.raises(LabError, match=r"first: apt-get install gcc libc6-dev$"):
        compile_kernel(cache, silent)
    assert maker.fetched == 0


def test_a_full_disk_is_told_before_anything_is_fetched(
    maker: Maker, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOM_MB", 1 << 40)
    with pytest.raises(LabError, match=r"takes \d+ MB for a while; \d+ MB are free"):
        compile_kernel(cache, silent)
    assert maker.fetched == 0


def test_lost_options_are_found() -> None:
    wanted = '# Files\nCONFIG_A=y\n\nCONFIG_B=y\nCONFIG_C="x"\n'
    assert lost(wanted, 'CONFIG_C="x"\nCONFIG_A=y\n# CONFIG_B is not set\n') == ["CONFIG_B=y"]


def test_the_reason_is_found_among_what_was_printed() -> None:
    assert why_failed(["  CC a.o", "a.c:1: error: what", "make: *** [a.o] Error 1"]) == (
        "a.c:1: error: what"
    )
    assert why_failed(["  CC a.o", "Killed"]) == "Killed"
    assert why_failed([]) == "it printed nothing"


@pytest.mark.parametrize(
    ("names", "package"),
    [
        (["linux-source", "linux-source-7.2", "linux-source-7.3"], "linux-source-7.2"),
        (["linux-source-7.9", "linux-source-7.10", "linux-source-8"], "linux-source-7.10"),
        (["linux-source-6.16"], "linux-source-6.16"),
        (["linux-source-6.12", "linux-source"], None),
        ([], None),
    ],
)
def test_the_tried_source_is_taken_else_the_newest(names: list[str], package: str | None) -> None:
    assert chosen(names) == package

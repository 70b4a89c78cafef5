"""An image is made once, whole or not at all, and never changed afterwards."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import CommandFailed, InvalidInput, LabError
from beowulf.lab.image import build as module
from beowulf.lab.image.build import ensure_image, mounts_below, remove_leftovers, remove_unused
from beowulf.lab.image.mirrors import Mirrors
from beowulf.lab.image.recipe import Image, Kernel, program_of
from beowulf.lab.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.lab.image.recipe import Recipe


class Factory:
    """Stands for mmdebstrap and mkfs: what they would make, and how often they were asked."""

    def __init__(self) -> None:
        self.made = 0
        self.wrong: Exception | None = None
        self.extra: dict[str, str] = {}
        self.takes_s = 0.0

    def bake(
        self, recipe: Recipe, tree: Path, port: int, log: Path, report: Callable[[str], None]
    ) -> dict[str, float]:
        assert (recipe.suite, port) == ("trixie", 3128)
        (tree / "etc").mkdir(parents=True)
        log.write_text("made\n")
        report("image: baking")
        time.sleep(self.takes_s)
        for name, text in self.extra.items():
            (tree / name).write_text(text)
        if self.wrong:
            raise self.wrong
        self.made += 1
        return {"packages": 2.0}

    def pack(self, tree: Path, disk: Path) -> None:
        assert (tree / "etc").is_dir()
        disk.write_text(f"disk {self.made}")


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Factory:
    made = Factory()
    mirrors = Mirrors(("deb http://mirror.example/debian trixie main",))
    monkeypatch.setattr(module, "find_mirrors", lambda _: mirrors)
    monkeypatch.setattr(module, "find_kernel", lambda: Kernel("6.1um4", Path("/lib/6.1.176")))
    monkeypatch.setattr(module, "ensure_proxy", lambda *_: Proxy(3128, 1, 1))
    monkeypatch.setattr(module, "packages_in", lambda _: {"systemd": "257"})
    monkeypatch.setattr(module, "bake", made.bake)
    monkeypatch.setattr(module, "pack", made.pack)
    return made


def silent(_: str) -> None:
    """Take a report and keep it."""


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "images").iterdir() if path.name != "lock")


def test_a_kernel_that_was_compiled_here_is_taken(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ensure_image("bare", cache=tmp_path, report=silent)
    assert program_of(before.directory) == "linux.uml"
    compiled = Kernel("linux-source-7.2 7.2.1", Path("/k/modules/7.2.1"), "/k/linux.uml")
    monkeypatch.setattr(module, "compiled_kernel", lambda _: compiled)
    image = ensure_image("bare", cache=tmp_path, report=silent)
    assert factory.made == 2
    assert image.record["kernel"] == "7.2.1"
    assert program_of(image.directory) == "/k/linux.uml"
    assert program_of(before.directory) == program_of(tmp_path) == "linux.uml"


def test_an_image_is_made_once(factory: Factory, tmp_path: Path) -> None:
    said: list[str] = []
    first = ensure_image("bare", cache=tmp_path, report=said.append)
    assert said[-1] == "image bare: made in 2 s"
    said.clear()
    assert ensure_image("bare", cache=tmp_path, report=said.append) == first
    assert factory.made == 1
    assert said == []
    assert first.directory == tmp_path / f"images/bare-{first.digest}"
    assert first.disk.read_text() == "disk 1"
    assert first.record["packages"] == {"systemd": "257"}
    assert sorted(path.name for path in first.directory.iterdir()) == [
        "base.raw",
        "build.log",
        "image.json",
    ]


def test_nobody_writes_to_a_disk_that_is_made(factory: Factory, tmp_path: Path) -> None:
    image = ensure_image("bare", cache=tmp_path, report=silent)
    assert image.disk.stat().st_mode & 0o777 == 0o444


def test_kinds_are_kept_apart(factory: Factory, tmp_path: Path) -> None:
    bare = ensure_image("bare", cache=tmp_path, report=silent)
    prepared = ensure_image("prepared", cache=tmp_path, report=silent)
    assert (bare.kind, prepared.kind) == ("bare", "prepared")
    assert bare.directory != prepared.directory
    assert factory.made == 2


def test_an_unknown_kind_touches_nothing(factory: Factory, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="choose one of bare, prepared"):
        ensure_image("../bare", cache=tmp_path, report=silent)
    assert list(tmp_path.iterdir()) == []


def test_rebuilding_makes_another_beside_the_one_that_nodes_stand_on(
    factory: Factory, tmp_path: Path
) -> None:
    made = [ensure_image("bare", cache=tmp_path, report=silent)]
    before = made[0].disk.stat()
    made += [ensure_image("bare", cache=tmp_path, report=silent, rebuild=True) for _ in range(10)]
    assert len({image.directory for image in made}) == 11
    assert [image.disk.read_text() for image in made] == [f"disk {n}" for n in range(1, 12)]
    after = made[0].disk.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert ensure_image("bare", cache=tmp_path, report=silent) == made[-1]


def test_of_two_at_once_one_builds_and_the_other_waits(factory: Factory, tmp_path: Path) -> None:
    factory.takes_s = 0.5
    said: list[str] = []
    found: list[Image] = []

    def one() -> None:
        found.append(ensure_image("bare", cache=tmp_path, report=said.append))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 3
    assert len(set(found)) == 1
    assert factory.made == 1
    assert "another image is being built: waiting for it" in said


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (LabError("image bare: exit 1: E: no network"), LabError),
        (CommandFailed("mkfs.ext4: exit 1: no space left"), LabError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), LabError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_build_that_fails_leaves_nothing(
    factory: Factory, tmp_path: Path, wrong: Exception, kind: type[BaseException]
) -> None:
    factory.wrong = wrong
    with pytest.raises(kind):
        ensure_image("bare", cache=tmp_path, report=silent)
    assert names(tmp_path) == []
    factory.wrong = None
    assert ensure_image("bare", cache=tmp_path, report=silent).disk.exists()


def test_an_image_with_a_secret_is_not_made(factory: Factory, tmp_path: Path) -> None:
    factory.extra = {"etc/shadow": "root:$y$j9T$salt$hash:20779::::::\n"}
    with pytest.raises(LabError, match="image bare: /etc/shadow: root has a password"):
        ensure_image("bare", cache=tmp_path, report=silent)
    assert names(tmp_path) == []


def test_what_a_killed_build_left_is_removed_by_the_next(factory: Factory, tmp_path: Path) -> None:
    left = tmp_path / "images/.building-abc/tree/usr/lib"
    left.mkdir(parents=True)
    (left / "lib.so").write_text("half")
    image = ensure_image("bare", cache=tmp_path, report=silent)
    assert names(tmp_path) == [image.directory.name]


@pytest.mark.root
def test_mounts_below_leftovers_go_before_the_files_do(tmp_path: Path) -> None:
    """The test's own mount must not be emptied: only what lies on the disk is removed."""
    from beowulf.transport.local import run

    work = tmp_path / ".building-abc"
    point, precious = work / "tree/with space/mnt", tmp_path / "precious"
    point.mkdir(parents=True)
    precious.mkdir()
    (precious / "file").write_text("keep")
    run(["mount", "--bind", precious, point])
    try:
        assert mounts_below(work, Path("/proc/self/mounts").read_text()) == [str(point)]
        remove_leftovers(tmp_path)
        assert not work.exists()
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
        assert (precious / "file").read_text() == "keep"
    finally:
        run(["umount", "--lazy", point], check=False)


def test_a_mount_beside_leftovers_is_none_of_theirs(tmp_path: Path) -> None:
    mounts = f"none {tmp_path}/.building-abcd tmpfs rw 0 0\nproc {tmp_path}/b proc rw 0 0\n"
    assert mounts_below(tmp_path / ".building-abc", mounts) == []


def test_only_images_that_nobody_keeps_are_removed(factory: Factory, tmp_path: Path) -> None:
    kept = ensure_image("bare", cache=tmp_path, report=silent)
    newer = ensure_image("bare", cache=tmp_path, report=silent, rebuild=True)
    prepared = ensure_image("prepared", cache=tmp_path, report=silent)
    (tmp_path / "images/mine").mkdir()
    removed = remove_unused(tmp_path, keep=[kept.directory])
    assert sorted(removed) == sorted([newer.directory, prepared.directory])
    assert names(tmp_path) == sorted([kept.directory.name, "mine"])
    assert kept.disk.read_text() == "disk 1"


def test_a_cache_without_images_has_none_to_remove(tmp_path: Path) -> None:
    assert remove_unused(tmp_path, keep=[]) == []

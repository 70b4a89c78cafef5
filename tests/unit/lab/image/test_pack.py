"""A tree becomes a disk that costs what is in it, and that boots without being prepared."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from beowulf.errors import LabError
from beowulf.lab.image import kernel
from beowulf.lab.image.kernel import find_kernel
from beowulf.lab.image.pack import DISK_MB, pack, packages_in
from beowulf.transport.local import Finished, run


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/fstab").write_text("/dev/ubda / ext4 defaults 0 1\n")
    (tree / "etc/link").symlink_to("fstab")
    (tree / "etc/sudoers").write_text("secret\n")
    (tree / "etc/sudoers").chmod(0o440)
    pack(tree, tmp_path / "base.raw")
    return tmp_path / "base.raw"


def test_the_disk_is_large_and_costs_little(disk: Path) -> None:
    status = disk.stat()
    assert status.st_size == DISK_MB * 1024 * 1024
    assert status.st_blocks * 512 < 32 * 1024 * 1024


def test_the_disk_holds_the_tree(disk: Path) -> None:
    asked = run(["debugfs", "-R", "cat /etc/fstab", disk])
    assert asked.output == "/dev/ubda / ext4 defaults 0 1\n"
    status = run(["debugfs", "-R", "stat /etc/sudoers", disk]).output
    assert re.search(r"Mode:\s+0440", status)
    assert re.search(rf"User:\s+{os.getuid()}\b", status)


def test_the_file_system_is_whole_and_needs_nothing_done_at_the_first_mount(disk: Path) -> None:
    run(["e2fsck", "-f", "-n", disk], timeout_s=120)
    described = run(["dumpe2fs", disk]).output
    assert "has_journal" in described
    groups = re.findall(r"^Group \d+:.*\[(.*)\]$", described, re.MULTILINE)
    assert len(groups) == DISK_MB // 128
    assert all("ITABLE_ZEROED" in flags for flags in groups)


def test_a_disk_that_exists_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "base.raw").write_text("somebody's")
    with pytest.raises(FileExistsError):
        pack(tmp_path, tmp_path / "base.raw")
    assert (tmp_path / "base.raw").read_text() == "somebody's"


def test_packages_that_are_installed_are_listed_and_no_others(tmp_path: Path) -> None:
    admin = tmp_path / "var/lib/dpkg"
    admin.mkdir(parents=True)
    form = "Package: {}\nStatus: {}\nArchitecture: all\nVersion: {}\nMaintainer: me\n"
    form += "Description: x\n\n"
    (admin / "status").write_text(
        form.format("sudo", "install ok installed", "1.9-3")
        + form.format("gone", "deinstall ok config-files", "2")
    )
    assert packages_in(tmp_path) == {"sudo": "1.9-3"}


def asked_dpkg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "run", lambda words: Finished(tuple(words), 0, "6.1um4+b13", ""))


def test_the_kernel_is_the_one_whose_modules_are_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked_dpkg(monkeypatch)
    (tmp_path / "6.1.176").mkdir()
    found = find_kernel(tmp_path)
    assert (found.package, found.version) == ("6.1um4+b13", "6.1.176")


@pytest.mark.parametrize("versions", [[], ["6.1.176", "6.12.1"]])
def test_modules_of_no_kernel_or_of_two_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, versions: list[str]
) -> None:
    asked_dpkg(monkeypatch)
    for version in versions:
        (tmp_path / version).mkdir()
    with pytest.raises(LabError, match=", ".join(versions) or "found none"):
        find_kernel(tmp_path)

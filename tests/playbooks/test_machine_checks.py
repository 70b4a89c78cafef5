"""What a machine is looked at for before it computes."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING, Any

import machine_checks
import pytest

from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

ROLE = REPOSITORY / "playbooks" / "roles" / "slurm_node"

MOUNTINFO = """\
24 1 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw
51 24 0:40 / /opt/beowulf rw,relatime shared:30 - nfs4 head:/opt/beowulf rw,vers=4.2,hard
52 24 0:41 / /home/ada rw,relatime shared:31 - autofs systemd-1 rw,fd=50
53 52 0:42 / /home/ada rw,relatime shared:32 - nfs4 head:/home/ada rw,vers=4.2,hard
54 24 0:43 / /home/ben rw,relatime shared:33 - autofs systemd-1 rw,fd=51
55 24 0:44 / /mnt/two\\040words rw,relatime - ext4 /dev/sdb1 rw
"""
TRACKING = "0A4D000A,10.77.0.10,11,1795391431.29,{},0.0027,0.0027,0.0,26.5,1.0,0.0003,1.6,16.1,{}\n"


def usage(size_mb: int, free_mb: int, *, inodes: int = 1000, free_inodes: int = 900) -> Any:
    block = 1 << 20
    return os.statvfs_result(
        (block, block, size_mb, free_mb, free_mb, inodes, free_inodes, free_inodes, 0, 255)
    )


def test_mounts_are_told_apart() -> None:
    assert machine_checks.nfs_mounts(MOUNTINFO) == {
        "/": False,
        "/opt/beowulf": True,
        "/home/ada": True,
        "/mnt/two words": False,
    }


@pytest.mark.parametrize(
    ("mounts", "silent", "fault"),
    [
        ({"/opt/beowulf": True}, [], None),
        ({}, [], "/opt/beowulf is not mounted by NFS"),
        ({"/opt/beowulf": False}, [], "/opt/beowulf is not mounted by NFS"),
        (
            {"/opt/beowulf": True, "/home/ada": True},
            ["/home/ada"],
            "NFS on /home/ada does not answer",
        ),
    ],
)
def test_shared_directories_must_be_there_and_answer(
    mounts: dict[str, bool], silent: list[str], fault: str | None
) -> None:
    assert machine_checks.check_mounts(mounts, ["/opt/beowulf"], silent).fault == fault


def test_mounts_that_answer_are_not_silent(tmp_path: Path) -> None:
    assert machine_checks.silent_paths([str(tmp_path), "/"]) == []


def test_a_mount_that_hangs_does_not_hang_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def statvfs(path: str) -> None:
        if path == "/hung":
            time.sleep(600)

    monkeypatch.setattr(os, "statvfs", statvfs)
    begun = time.monotonic()
    assert machine_checks.silent_paths(["/hung", "/well"], timeout_s=0.5) == ["/hung"]
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/opt/beowulf", "opt-beowulf.mount"),
        ("/home/ada-l", "home-ada\\x2dl.mount"),
        ("/a b/", "a\\x20b.mount"),
    ],
)
def test_a_mounts_unit_is_named_as_systemd_does(path: str, unit: str) -> None:
    assert machine_checks.mount_unit(path) == unit


@pytest.mark.parametrize("behind_s", [0.0, 600.0, -600.0, 0.25])
def test_the_heads_reply_tells_by_how_much_the_clock_is_off(behind_s: float) -> None:
    sent_s, way_s = 1_795_391_431.0, 0.01
    arrived_s = sent_s + way_s + behind_s + machine_checks.NTP_EPOCH_S
    stamp = (int(arrived_s), int(arrived_s % 1 * 2**32))
    reply = b"\x24" + 15 * b"\0" + struct.pack("!8I", 0, 0, 0, 0, *stamp, *stamp)
    assert len(reply) == machine_checks.NTP_REPLY_BYTES
    told = machine_checks.ntp_offset_s(reply, sent_s, sent_s + 2 * way_s)
    assert told == pytest.approx(behind_s, abs=1e-4)


@pytest.mark.parametrize(
    ("head_s", "tracking", "fault"),
    [
        (0.01, TRACKING.format(0.0, "Normal"), None),
        (600.0, TRACKING.format(0.0, "Normal"), "the clock is off by more than 1 s"),
        (-600.0, TRACKING.format(0.0, "Normal"), "the clock is off by more than 1 s"),
        (None, TRACKING.format(0.0, "Normal"), None),
        (None, TRACKING.format(-2.5, "Normal"), "the clock is off by more than 1 s"),
        (
            None,
            TRACKING.format(0.0, "Not synchronised"),
            "the clock is not set: no time from the head",
        ),
        (0.0, None, "the time service, chrony, does not run"),
        (
            600.0,
            None,
            "the clock is off by more than 1 s; the time service, chrony, does not run",
        ),
        (None, "", "the clock is not set: no time from the head"),
    ],
)
def test_the_clock_is_judged(head_s: float | None, tracking: str | None, fault: str | None) -> None:
    assert machine_checks.check_clock(head_s, tracking, 1.0).fault == fault


@pytest.mark.parametrize(
    ("size_mb", "free_mb", "fault"),
    [
        (500_000, 501, None),
        (500_000, 499, "the disk is full: less than 500 MB free in /"),
        (400, 21, None),
        (400, 19, "the disk is full: less than 20 MB free in /"),
        (0, 0, None),
    ],
)
def test_a_full_disk_is_a_fault(size_mb: int, free_mb: int, fault: str | None) -> None:
    assert machine_checks.check_disk("/", usage(size_mb, free_mb), 500).fault == fault


def test_a_disk_full_of_small_files_is_a_fault() -> None:
    full = usage(9000, 8000, inodes=1000, free_inodes=5)
    assert "small files" in (machine_checks.check_disk("/", full, 500).fault or "")
    without_inodes = usage(9000, 8000, inodes=0, free_inodes=0)  # btrfs
    assert machine_checks.check_disk("/", without_inodes, 500).fault is None


def test_a_file_system_is_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    paths = {str(tmp_path): 500, str(tmp_path / "var"): 300, "/proc": 0}
    assert machine_checks.file_systems(paths) == {str(tmp_path): 500, "/proc": 0}


def test_lost_memory_is_a_fault() -> None:
    meminfo = "MemTotal:        1010004 kB\nMemFree:          900000 kB\n"
    assert machine_checks.check_memory(meminfo, 986).fault is None
    assert machine_checks.check_memory(meminfo, 987).fault == "there is less memory than 987 MB"


def test_the_settings_are_those_that_the_role_writes() -> None:
    template = (ROLE / "templates" / "node-health.json.j2").read_text()
    for name in machine_checks.Settings.__dataclass_fields__:
        assert f"'{name}':" in template

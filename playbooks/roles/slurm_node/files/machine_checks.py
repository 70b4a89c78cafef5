"""What beowulf-node-health looks at on a machine: mounts, clock, disks, memory, munged.

Needs nothing but Python. Nothing here waits for ever: a hard NFS mount whose server is gone would.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NTP_PORT = 123
NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970
NTP_REQUEST = b"\x23" + 47 * b"\0"  # version 4, client: RFC 4330
NTP_REPLY_BYTES = 48
REPLY_TIMEOUT_S = 2.0
MOUNT_TIMEOUT_S = 8.0
COMMAND_TIMEOUT_S = 10.0
MIN_INODES_PERCENT = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """What this machine should be, as role slurm_node wrote it."""

    node: str
    head: str
    head_address: str
    is_head: bool
    mounts: tuple[str, ...]
    memory_mb: int
    disks_free_mb: dict[str, int]
    clock_s: float

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read the settings' file."""
        values = json.loads(text)
        return cls(**{**values, "mounts": tuple(values["mounts"])})


@dataclasses.dataclass(frozen=True)
class Check:
    """What one look showed: a fault in plain words that don't change by the minute, or none."""

    name: str
    fault: str | None
    detail: str


# --- Judging, in pure functions -------------------------------------------------------


def nfs_mounts(mountinfo: str) -> dict[str, bool]:
    """Return the places that file systems are mounted on, and whether it is NFS.

    Args:
        mountinfo: What /proc/self/mountinfo says. The mount on top is the last.
    """
    mounts = {}
    for line in mountinfo.splitlines():
        words = line.split()
        if "-" not in words[6:]:
            continue
        kind = words[words.index("-", 6) + 1]
        if kind != "autofs":  # the real one comes on top when somebody looks
            mounts[re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), words[4])] = (
                kind.startswith("nfs")
            )
    return mounts


def check_mounts(mounts: dict[str, bool], wanted: Sequence[str], silent: Sequence[str]) -> Check:
    """Judge the shared directories.

    Args:
        mounts: What is mounted where, and whether it is NFS.
        wanted: Where NFS must be mounted.
        silent: The mounts that did not answer in time.
    """
    missing = [path for path in wanted if not mounts.get(path, False)]
    faults = [f"NFS on {path} does not answer" for path in silent]
    faults += [f"{path} is not mounted by NFS" for path in missing]
    count = sum(mounts.values())
    return Check("mounts", "; ".join(faults) or None, f"{count} by NFS, {len(silent)} silent")


def mount_unit(path: str) -> str:
    """Return the name that systemd has for the mount on a path (systemd.unit(5), escaping)."""
    escaped = [
        c if c.isascii() and (c.isalnum() or c in ":_.") else f"\\x{ord(c):02x}"
        for c in path.strip("/").replace("/", "\0")
    ]
    return "".join("-" if c == "\\x00" else c for c in escaped) + ".mount"


def ntp_offset_s(reply: bytes, sent_s: float, received_s: float) -> float:
    """Return by how much this clock is behind the server's, in seconds (RFC 4330, section 5)."""
    seconds = struct.unpack("!8I", reply[16:48])
    arrived_s = seconds[4] + seconds[5] / 2**32 - NTP_EPOCH_S
    left_s = seconds[6] + seconds[7] / 2**32 - NTP_EPOCH_S
    return float((arrived_s - sent_s) + (left_s - received_s)) / 2


def tracked_offset_s(tracking: str) -> float | None:
    """Return what chrony still has to correct, in seconds; None if it has no source.

    Args:
        tracking: What ``chronyc -c tracking`` prints: one line, 14 fields.
    """
    fields = tracking.strip().split(",")
    if len(fields) < 14 or fields[13] not in ("Normal", "Insert second", "Delete second"):
        return None
    return float(fields[4])


def check_clock(head_offset_s: float | None, tracking: str | None, least_s: float) -> Check:
    """Judge the clock.

    Args:
        head_offset_s: By how much it is behind the head's; None if the head did not say.
        tracking: What chronyc said; None if chrony does not run.
        least_s: What is too much.
    """
    offset_s = head_offset_s
    if offset_s is None and tracking is not None:
        offset_s = tracked_offset_s(tracking)
    faults = []
    if offset_s is not None and abs(offset_s) > least_s:
        faults.append(f"the clock is off by more than {least_s:g} s")
    if tracking is None:
        faults.append("the time service, chrony, does not run")
    elif offset_s is None:
        faults.append("the clock is not set: no time from the head")
    detail = "unknown" if offset_s is None else f"{offset_s:.3f} s behind"
    return Check("clock", "; ".join(faults) or None, detail)


def check_disk(path: str, usage: os.statvfs_result, least_mb: int) -> Check:
    """Judge one file system. On a small one, 5 per cent free are enough."""
    size_mb = usage.f_blocks * usage.f_frsize >> 20
    free_mb = usage.f_bavail * usage.f_frsize >> 20
    wanted_mb = min(least_mb, size_mb // 20)
    fault = None
    if free_mb < wanted_mb:
        fault = f"the disk is full: less than {wanted_mb} MB free in {path}"
    elif usage.f_files and usage.f_favail * 100 < usage.f_files * MIN_INODES_PERCENT:
        fault = f"the disk is full of small files: no more fit in {path}"
    return Check(f"disk {path}", fault, f"{free_mb} of {size_mb} MB free")


def check_memory(meminfo: str, wanted_mb: int) -> Check:
    """Judge the memory: a bar that fell out of its socket shows here."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    total_mb = int(found.group(1)) >> 10 if found else 0
    fault = f"there is less memory than {wanted_mb} MB" if total_mb < wanted_mb else None
    return Check("memory", fault, f"{total_mb} MB")


# --- Looking -------------------------------------------------------------------------


def run(*command: str, text: str = "") -> tuple[bool, str]:
    """Run a command, not for long; return whether it succeeded and what it said."""
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, done.stdout if done.returncode == 0 else done.stderr


def silent_paths(paths: Sequence[str], timeout_s: float = MOUNT_TIMEOUT_S) -> list[str]:
    """Return the mounts that don't answer in time. A child asks each: it may hang in the kernel."""
    children = {}
    for path in paths:
        child = os.fork()
        if child == 0:
            try:
                os.statvfs(path)  # not cached: NFS asks the server
            except OSError:
                os._exit(1)
            os._exit(0)
        children[child] = path
    deadline = time.monotonic() + timeout_s
    silent = []
    while children and time.monotonic() < deadline:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            time.sleep(0.02)
            continue
        path = children.pop(child)
        if status != 0:
            silent.append(path)
    for child in children:
        os.kill(child, signal.SIGKILL)  # not waited for: it may not come
    return sorted([*silent, *children.values()])


def ask_head_s(address: str) -> float | None:
    """Ask the head for its time; return by how much this clock is behind, None without a reply."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(REPLY_TIMEOUT_S)
        try:
            asking.connect((address, NTP_PORT))
            sent_s = time.time()
            asking.send(NTP_REQUEST)
            reply = asking.recv(512)
        except OSError:
            return None
        received_s = time.time()
    return ntp_offset_s(reply, sent_s, received_s) if len(reply) >= NTP_REPLY_BYTES else None


def file_systems(paths: dict[str, int]) -> dict[str, int]:
    """Return the paths without those that lie on the same file system as one before."""
    by_device: dict[int, str] = {}
    for path in paths:
        by_device.setdefault(Path(path).stat().st_dev, path)
    return {path: paths[path] for path in by_device.values()}


def look(settings: Settings) -> list[Check]:
    """Look at everything but Slurm."""
    mounts = nfs_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    served = [path for path, is_nfs in mounts.items() if is_nfs]
    tracks, tracking = run("chronyc", "-c", "tracking")
    offset_s = None if settings.is_head else ask_head_s(settings.head_address)
    encodes, credential = run("munge", "--no-input")
    decodes = encodes and run("unmunge", "--no-output", text=credential)[0]
    return [
        check_mounts(mounts, settings.mounts, silent_paths(served)),
        check_clock(offset_s, tracking if tracks else None, settings.clock_s),
        *(
            check_disk(path, os.statvfs(path), least_mb)
            for path, least_mb in file_systems(settings.disks_free_mb).items()
        ),
        check_memory(Path("/proc/meminfo").read_text(encoding="utf-8"), settings.memory_mb),
        Check("munge", None if decodes else "munged does not work", "decoded" if decodes else ""),
    ]

#!/usr/bin/python3
"""Look whether this machine is fit to compute, and tell Slurm.

Without options, as slurmd starts it: a machine with a fault is drained, with a reason that begins
with "beowulf: " and names the fault; one that this program drained goes back to work when nothing
is wrong any more. What others drained is left alone.

With --json: look, print what was found, change nothing.
With --settle: wait until slurmd has registered, then do as without options, and also let the
machine work again if Slurm had drained it for being described wrongly. Print what was done.

Needs nothing but Python. Nothing here waits for ever: a hard NFS mount whose server is gone would.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = Path("/etc/beowulf/node-health.json")
OURS = "beowulf: "
# What Slurm says of a machine that has less than slurm.conf says (node_mgr.c).
DESCRIBED_WRONGLY = re.compile(r"Low (RealMemory|CPUs|Cores|socket\*core)")
CONFIGURATIONS = (Path("/run/slurm/conf/slurm.conf"), Path("/etc/slurm/slurm.conf"))

NTP_PORT = 123
NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970
NTP_REQUEST = b"\x23" + 47 * b"\0"  # version 4, client: RFC 4330
NTP_REPLY_BYTES = 48
REPLY_TIMEOUT_S = 2.0
MOUNT_TIMEOUT_S = 8.0
COMMAND_TIMEOUT_S = 10.0
SETTLE_TIMEOUT_S = 90.0
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


@dataclasses.dataclass(frozen=True)
class Queue:
    """What Slurm thinks of this machine."""

    state: str
    reason: str

    @property
    def is_drained(self) -> bool:
        """Whether no new jobs are given to it on somebody's word."""
        return self.state.startswith("drain")

    @property
    def is_registered(self) -> bool:
        """Whether slurmctld and slurmd know each other."""
        return self.state != "" and not re.search(r"\*|^down|^unk|^inval|^fut|^boot", self.state)


# --- Pure functions ------------------------------------------------------------------


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


def parsed_queue(output: str) -> Queue:
    """Read the first line of ``sinfo -h -N -o '%T|%E'``."""
    state, _, reason = output.partition("\n")[0].strip().partition("|")
    return Queue(state, "" if reason == "none" else reason)


def wanted_update(faults: Sequence[str], queue: Queue, *, settle: bool = False) -> dict[str, str]:
    """Return what of the node Slurm should be told to change; nothing if all is as it should be.

    Args:
        faults: In plain words.
        queue: What Slurm thinks of the machine.
        settle: Whether its description was just corrected.
    """
    is_ours = queue.reason.startswith(OURS)
    if not faults:
        wrong = settle and DESCRIBED_WRONGLY.match(queue.reason) is not None
        return {"state": "resume"} if queue.is_drained and (is_ours or wrong) else {}
    reason = OURS + "; ".join(faults)
    if queue.is_drained and (not is_ours or queue.reason == reason):
        return {}
    return {"state": "drain", "reason": reason}


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


def ask_queue(settings: Settings) -> tuple[Queue, Check]:
    """Ask Slurm about this machine. The head answers only whom it believes: same key, same time."""
    knows, output = run("sinfo", "-h", "-N", "-n", settings.node, "-o", "%T|%E")
    if knows:
        queue = parsed_queue(output)
        return queue, Check("slurm", None, queue.state)
    fault = "the queue on the head can't be reached"
    if "authentication" in output.lower():
        fault = "the head does not believe this machine: another munge key, or another time"
    return Queue("", ""), Check("slurm", fault, output.strip().partition("\n")[0])


def mount_missing(settings: Settings, checks: Sequence[Check]) -> None:
    """Mount what the machine came up without, because the head was off then; don't wait for it."""
    if any(check.name == "mounts" and check.fault for check in checks):
        mounts = nfs_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
        units = [mount_unit(path) for path in settings.mounts if path not in mounts]
        if units:
            run("systemctl", "--no-block", "start", *units)


def configuration_sha256() -> str | None:
    """Return the hash of the slurm.conf that is used here, None if there is none."""
    for path in CONFIGURATIONS:
        if path.exists():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


# --- Telling -------------------------------------------------------------------------


def wait_for_registration(settings: Settings) -> None:
    """Wait until slurmctld knows that slurmd is there, but not for ever."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        if ask_queue(settings)[0].is_registered:
            return
        time.sleep(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, act unless only asked, and return 1 if something is wrong and that was asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--json", action="store_true", help="only look, and print what was found")
    mode.add_argument("--settle", action="store_true", help="wait for slurmd, act, print")
    wanted = parser.parse_args(arguments)
    settings = Settings.from_json(SETTINGS.read_text(encoding="utf-8"))
    if wanted.settle:
        wait_for_registration(settings)
    checks = look(settings)
    queue, reached = ask_queue(settings)
    update: dict[str, str] = {}
    if not wanted.json:
        mount_missing(settings, checks)
        if queue.state:
            faults = [check.fault for check in checks if check.fault]
            update = wanted_update(faults, queue, settle=wanted.settle)
        if update:
            words = [f"{name}={value}" for name, value in update.items()]
            run("scontrol", "update", f"nodename={settings.node}", *words)
            queue = ask_queue(settings)[0]
    checks.append(reached)
    faults = [check.fault for check in checks if check.fault]
    if wanted.settle and not queue.is_registered:
        faults.append(f"Slurm calls this machine {queue.state or 'unknown'}: {queue.reason}")
    if wanted.json or wanted.settle:
        print(json.dumps(report(settings, checks, faults, queue, update), indent=2))
        return 1 if faults else 0
    for fault in faults:
        print(f"{OURS}{fault}", file=sys.stderr)
    return 0


def report(
    settings: Settings,
    checks: Sequence[Check],
    faults: Sequence[str],
    queue: Queue,
    update: dict[str, str],
) -> dict[str, object]:
    """Return what programs may want to know."""
    return {
        "schema": 1,
        "node": settings.node,
        "healthy": not faults,
        "faults": list(faults),
        "checks": {c.name: {"fault": c.fault, "detail": c.detail} for c in checks},
        "slurm": {"state": queue.state, "reason": queue.reason},
        "slurm_conf_sha256": configuration_sha256(),
        "changed": bool(update),
    }


if __name__ == "__main__":
    sys.exit(main())

"""What the computer that holds a lab must have, said in one line where it lacks something."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import LabError
from beowulf.lab import shim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.lab.machine import Machine

# What is called, and the Debian package that has it.
PROGRAMS = {
    "linux.uml": "user-mode-linux",
    "mmdebstrap": "mmdebstrap",
    "squid": "squid",
    "ip": "iproute2",
    "sysctl": "procps",
    "tc": "iproute2",
    "nc": "netcat-openbsd",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "mkfs.ext4": "e2fsprogs",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "taskset": "util-linux",
}
COMPILER = ("cc", "gcc libc6-dev")
MAPPINGS = Path("/proc/sys/vm/max_map_count")
LEAST_MAPPINGS = 1 << 20
TUN = Path("/dev/net/tun")
MEMORY = Path("/dev/shm")  # noqa: S108 - memory, not a place for files of one's own
SYSTEM_PROGRAMS = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Lack:
    """What stands between this computer and a lab."""

    root: bool
    packages: tuple[str, ...]
    devices: tuple[str, ...]

    def sentence(self) -> str:
        """Return all of it in one line, with what to type; nothing if nothing is lacking."""
        if self.root and not self.packages and not self.devices:
            return "only root may handle a lab: run it as root (sudo)"
        parts = []
        if self.packages:
            parts.append(f"install what it needs (Debian: apt install {' '.join(self.packages)})")
        if self.devices:
            parts.append(f"provide {' and '.join(self.devices)}")
        if self.root:
            parts.append("run it as root (sudo)")
        return f"a lab cannot run here yet: {', and '.join(parts)}" if parts else ""


def lacking() -> Lack:
    """Look at what this computer lacks for a lab. Changes nothing."""
    path = _search_path()
    programs = dict(PROGRAMS)
    if shim.needed():
        programs[COMPILER[0]] = COMPILER[1]
    packages = {
        package for program, package in programs.items() if not shutil.which(program, path=path)
    }
    devices = [] if TUN.exists() else [f"{TUN} (modprobe tun)"]
    return Lack(os.geteuid() != 0, tuple(sorted(packages)), tuple(devices))


def require_host() -> None:
    """Refuse what this computer cannot do yet, before anything is touched.

    Raises:
        LabError: Packages, a device or the rights are missing; all of them in one line.
    """
    sentence = lacking().sentence()
    if sentence:
        raise LabError(sentence)
    # cron and sudo may hand on a PATH without the system's own programs.
    if "/usr/sbin" not in os.environ.get("PATH", "").split(":"):
        os.environ["PATH"] = _search_path()


def _search_path() -> str:
    """Return where programs are looked for; an empty place in it would be the work directory."""
    return ":".join(filter(None, [*os.get_exec_path(), SYSTEM_PROGRAMS]))


def require_memory(machines: Sequence[Machine]) -> None:
    """Refuse machines that this computer's memory can't hold, should they use all of theirs.

    Raises:
        LabError: The machines together have more memory than is free.
    """
    asked_mb = sum(machine.memory_mb for machine in machines)
    free_mb = shutil.disk_usage(MEMORY).free // 2**20
    if asked_mb > free_mb:
        raise LabError(
            f"{MEMORY}: the machines have {asked_mb} MB of memory together and only {free_mb} MB "
            "are free here; lower lab_memory_mb, or name fewer nodes"
        )


def allow_mappings() -> None:
    """Let a program in a node have all of the node's memory, as far as this computer's kernel says.

    To it each page that a program in a node touches may be a mapping of its own. Linux's
    default of 65530 lets the node's kernel kill a program at 256 MB. It is raised until this
    computer restarts; where that is forbidden, as in a container, it stays.
    """
    with contextlib.suppress(OSError, ValueError):
        if int(MAPPINGS.read_text()) < LEAST_MAPPINGS:
            MAPPINGS.write_text(f"{LEAST_MAPPINGS}\n")


if __name__ == "__main__":  # for the Makefile, which installs them
    print(*lacking().packages)

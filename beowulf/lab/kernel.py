"""The command line of a node's kernel: its hardware, and what its system is told at boot."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.lab.machine import Machine, Plan

KERNEL = "linux.uml"  # Debian's; any other one was compiled here
# What a process in a node asks of its kernel then costs a signal, not two stops by a debugger.
SECCOMP = "seccomp=on"
CARD = "vec0"
USER = "admin"
PROXY_PORT = 3128
LONGEST = 4096  # COMMAND_LINE_SIZE of User-Mode Linux, with the zero at its end


@dataclass(frozen=True)
class Boot:
    """What one boot of one machine needs, besides the machine and the plan."""

    base: Path
    disk: Path
    consoles: Path
    empty: Path
    public_key: str
    program: str = KERNEL


def command_line(machine: Machine, plan: Plan, boot: Boot) -> list[str]:
    """Return the words with which User-Mode Linux is started as this machine.

    What makes it this machine (name, address, the key that may log in) is told to
    systemd, whose own units apply it; the image is the same for all.

    Raises:
        LabError: The kernel would cut the words off at its limit.
    """
    words = [
        boot.program,
        f"mem={machine.memory_mb}M",
        f"umid={machine.name}",
        f"uml_dir={boot.consoles}/",
        # Without this, root in the node could mount this computer's own files.
        f"hostfs={boot.empty}",
        f"ubd0={boot.disk},{boot.base}",
        "root=/dev/ubda",
        "rw",
        "con=null",
        "con0=null,fd:1",
        "ssl=null",
        f"vec0:transport=tap,ifname=tap{plan.port(machine)},depth=128,gro=1,mac={machine.mac}",
        "quiet",
        "audit=0",
        "systemd.show_status=false",
        f"systemd.hostname={machine.name}",
        f"ip={machine.address}::{plan.gateway}:{plan.netmask}:{machine.name}:{CARD}:none",
        f"systemd.set_credential_binary=tmpfiles.extra:{_encoded(_files(machine, plan, boot))}",
    ]
    if boot.program != KERNEL:
        words.append(SECCOMP)
    size = len(" ".join(words).encode())
    if size >= LONGEST:
        raise LabError(
            f"{machine.name}: its kernel takes at most {LONGEST - 1} bytes of command line and "
            f"would get {size}; choose shorter BEOWULF_LAB_STATE_DIR and BEOWULF_LAB_CACHE_DIR"
        )
    return words


def _files(machine: Machine, plan: Plan, boot: Boot) -> str:
    """Return lines for systemd-tmpfiles(8): files made at the first boot, and then left alone.

    The lines of /etc/hosts are those that Debian's installer writes.
    """
    hosts = f"127.0.0.1\\tlocalhost\\n127.0.1.1\\t{machine.name}\\n"
    proxy = f'Acquire::http::Proxy "http://{plan.gateway}:{PROXY_PORT}";\\n'
    ssh = f"/home/{USER}/.ssh"
    return (
        f"f /etc/hostname 0644 root root - {machine.name}\\n\n"
        f"f /etc/hosts 0644 root root - {hosts}\n"
        f"f /etc/apt/apt.conf.d/90lab-proxy 0644 root root - {proxy}\n"
        f"d {ssh} 0700 {USER} {USER} -\n"
        f"f~ {ssh}/authorized_keys 0600 {USER} {USER} - {_encoded(boot.public_key)}\n"
    )


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")

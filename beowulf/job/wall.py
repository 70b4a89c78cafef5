"""Hear nothing more from hosts that were lost.

A host whose cable is in again, or that thaws, comes back with old words. To it, all the others were
lost: MPI would believe that, and leave out ranks which are well. And when its end of a connection
to Open MPI's launcher closes, the launcher ends everybody. So what such a host may still send is
not listened to. A firewall could do the same, but not for an ordinary user.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

PIDFD_GETFD = 438  # the number of this call, on all machines
EPOLL = "anon_inode:[eventpoll]"


def shut_out(hosts: Collection[str]) -> None:
    """Put something that stays silent in the place of this process's connections to hosts."""
    addresses = _addresses(hosts)
    for number in _numbers(os.getpid(), "socket:"):
        with contextlib.suppress(OSError):
            if _leads_to(os.dup(number), addresses):
                here, there = socket.socketpair()
                here.settimeout(0)
                os.dup2(here.fileno(), number, inheritable=False)
                here.close()
                there.detach()  # stays open, lest the other end hears that it was closed


def deafen(pid: int, hosts: Collection[str]) -> None:
    """Have a process that this one has started not look any more at its connections to hosts.

    Whenever it sends anything there, it looks again: so do this now and then.
    """
    addresses = _addresses(hosts)
    for number in _numbers(pid, "socket:"):
        with contextlib.suppress(OSError):
            if _leads_to(_copied(pid, number), addresses):
                for epoll in _numbers(pid, EPOLL):
                    _look_away(pid, epoll, number)


def _addresses(hosts: Collection[str]) -> set[str]:
    found = set()
    for host in hosts:
        with contextlib.suppress(OSError):
            found.add(socket.gethostbyname(host))
    return found


def _numbers(pid: int, kind: str) -> Iterator[int]:
    """Yield a process's descriptors of a kind."""
    with contextlib.suppress(OSError):
        for entry in list(Path(f"/proc/{pid}/fd").iterdir()):
            with contextlib.suppress(OSError):
                if str(entry.readlink()).startswith(kind):
                    yield int(entry.name)


def _leads_to(descriptor: int, addresses: Collection[str]) -> bool:
    """Say whether this is an IPv4 connection to one of these addresses, and close it."""
    with socket.socket(fileno=descriptor) as one, contextlib.suppress(OSError):
        return one.family == socket.AF_INET and one.getpeername()[0] in addresses
    return False


def _look_away(pid: int, epoll: int, number: int) -> None:
    """Take a descriptor of another process out of one of its ``epoll``s, if it is in there.

    The kernel knows it by its number: so it has to have the same one here, for this moment.
    """
    with contextlib.ExitStack() as stack:
        looking = select.epoll.fromfd(_copied(pid, epoll))
        stack.callback(looking.close)
        taken = _copied(pid, number)
        stack.callback(os.close, taken)
        if taken == number:
            with contextlib.suppress(OSError):
                looking.unregister(number)
            return
        try:
            mine = os.dup(number)
        except OSError:
            stack.callback(os.close, number)
        else:
            stack.callback(os.close, mine)
            stack.callback(os.dup2, mine, number, os.get_inheritable(mine))
        os.dup2(taken, number, inheritable=False)
        with contextlib.suppress(OSError):
            looking.unregister(number)


def _copied(pid: int, number: int) -> int:
    """Return another process's descriptor, under a number of this process."""
    process = os.pidfd_open(pid)
    try:
        found: int = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, number, 0)
    finally:
        os.close(process)
    if found < 0:
        raise OSError(ctypes.get_errno(), f"descriptor {number} of process {pid}")
    return found

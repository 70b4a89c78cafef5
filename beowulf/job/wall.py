"""Let nothing in any more from hosts that were lost.

A host whose cable is in again, or that thaws, comes back with old words: to it, all the others were
lost, and MPI would believe that and leave out ranks which are well. Linux can drop what comes for
a socket before anybody reads it: McCanne and Jacobson, "The BSD packet filter: a new architecture
for user-level packet capture", USENIX Winter 1993; socket(7), SO_ATTACH_FILTER.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

ATTACH_FILTER = 26  # SO_ATTACH_FILTER, which Python does not name
PIDFD_GETFD = 438  # the number of this call, on all machines
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
IPV4_SOURCE = 0xFFF00000 + 12  # from SKF_NET_OFF, the beginning of the packet's IPv4 header
WHOLE, NOTHING = 0xFFFFFFFF, 0
Instruction = tuple[int, int, int, int]


def shut_out(hosts: Collection[str], pid: int | None = None) -> None:
    """Drop all that these hosts send to this process from now on, on connections old and new.

    ``pid`` is another process instead, a descendant of this one. Where it cannot be done, nothing
    changes.
    """
    addresses = set()
    for host in hosts:
        with contextlib.suppress(OSError):
            addresses.add(socket.gethostbyname(host))
    if not addresses:
        return
    for one in _sockets(pid):
        with one, contextlib.suppress(OSError):
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                _attach(one, _all_but(addresses))
            elif one.getpeername()[0] in addresses:
                _attach(one, [(RETURN, 0, 0, NOTHING)])


def _sockets(pid: int | None) -> Iterator[socket.socket]:
    """Yield a process's IPv4 connections and what waits for them, each under another number."""
    with contextlib.suppress(OSError):
        for entry in list(Path(f"/proc/{pid or 'self'}/fd").iterdir()):
            with contextlib.suppress(OSError):
                if str(entry.readlink()).startswith("socket:"):
                    number = int(entry.name)
                    one = socket.socket(
                        fileno=os.dup(number) if pid is None else _copied(pid, number)
                    )
                    if one.family == socket.AF_INET and one.type == socket.SOCK_STREAM:
                        yield one
                    else:
                        one.close()


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


def _all_but(addresses: Collection[str]) -> list[Instruction]:
    """Return a program that drops what comes from these addresses, and lets all else pass."""
    wanted = sorted(addresses)
    program = [(LOAD_WORD, 0, 0, IPV4_SOURCE)]
    for place, address in enumerate(wanted):
        (number,) = struct.unpack("!I", socket.inet_aton(address))
        program.append((JUMP_IF_EQUAL, len(wanted) - place, 0, number))
    return [*program, (RETURN, 0, 0, WHOLE), (RETURN, 0, 0, NOTHING)]


def _attach(one: socket.socket, program: list[Instruction]) -> None:
    """Replace a socket's filter."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    where = struct.pack("HP", len(program), ctypes.addressof(buffer))
    one.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, where)

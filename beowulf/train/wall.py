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
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
IPV4_SOURCE = 0xFFF00000 + 12  # from SKF_NET_OFF, the beginning of the packet's IPv4 header
WHOLE, NOTHING = 0xFFFFFFFF, 0
Instruction = tuple[int, int, int, int]


def shut_out(hosts: Collection[str]) -> None:
    """Drop all that these hosts send to this process from now on, on connections old and new.

    Where that cannot be done, nothing changes.
    """
    addresses = set()
    for host in hosts:
        with contextlib.suppress(OSError):
            addresses.add(socket.gethostbyname(host))
    if not addresses:
        return
    for one in _sockets():
        with one, contextlib.suppress(OSError):
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                _attach(one, _all_but(addresses))
            elif one.getpeername()[0] in addresses:
                _attach(one, [(RETURN, 0, 0, NOTHING)])


def _sockets() -> Iterator[socket.socket]:
    """Yield this process's IPv4 connections and what waits for them, each under another number."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                one = socket.socket(fileno=os.dup(int(entry.name)))
                if one.family == socket.AF_INET and one.type == socket.SOCK_STREAM:
                    yield one
                else:
                    one.close()


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

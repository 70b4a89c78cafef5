"""Open sockets inside a lab's network namespace from a process outside it.

A socket belongs for ever to the namespace in which it was made, and a namespace is
entered by one thread at a time (setns(2)). So a short-lived thread goes in and makes
the socket, and the process itself never leaves its own network.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from pathlib import Path

from beowulf.errors import LabError

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x4000_0000


def socket_inside(namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Return a socket that lives in the network namespace of this name.

    Raises:
        LabError: There is no such namespace, or this process may not enter it.
    """
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def enter_and_make() -> None:
        try:
            _enter(namespace)
            made.append(socket.socket(family, kind, protocol))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=enter_and_make)
    thread.start()
    thread.join()
    if failed:
        raise LabError(
            f"network namespace {namespace}: {failed[0].strerror}; up makes it again"
        ) from failed[0]
    return made[0]


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)

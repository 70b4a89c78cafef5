"""What a lost host still sends is not heard, by this process or by one that it has started."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beowulf.job.wall import deafen, shut_out

LOST, LEFT = "127.0.0.2", "127.0.0.3"  # both are this computer
# Says that it is there, and tells what it hears until its input ends.
LISTENER = """
import os, selectors, socket, sys
one = socket.create_connection((sys.argv[1], int(sys.argv[2])))
one.setblocking(False)
with selectors.EpollSelector() as looking:
    looking.register(one, selectors.EVENT_READ)
    looking.register(sys.stdin, selectors.EVENT_READ)
    one.sendall(b"ready")
    while True:
        for key, _ in looking.select():
            if key.fileobj is sys.stdin:
                sys.exit()
            os.write(1, one.recv(100) or b"closed")
            looking.unregister(one)
"""


@contextmanager
def listening(host: str) -> Iterator[socket.socket]:
    with socket.create_server((host, 0)) as one:
        one.settimeout(5)
        yield one


def descriptors() -> list[tuple[str, str]]:
    open_ones = [entry for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    return sorted((entry.name, str(entry.readlink())) for entry in open_ones)


def test_connections_to_a_lost_host_bring_nothing_any_more() -> None:
    with listening(LOST) as lost, listening(LEFT) as left, selectors.EpollSelector() as looking:
        mine = [socket.create_connection(one.getsockname()) for one in (lost, left)]
        theirs = [one.accept()[0] for one in (lost, left)]
        for one in mine:
            looking.register(one, selectors.EVENT_READ)
        shut_out([LOST, "no such host.invalid"])
        for one in theirs:
            one.sendall(b"who is left?")
            one.close()
        assert {key.fileobj for key, _ in looking.select(1)} == {mine[1]}
        assert mine[1].recv(100) == b"who is left?"
        with pytest.raises(BlockingIOError):
            mine[0].recv(100)
        mine[0].sendall(b"nobody hears this")
        for one in mine:
            one.close()


@pytest.mark.parametrize(("host", "hears"), [(LOST, b""), (LEFT, b"an old word")])
def test_a_process_is_deaf_to_lost_hosts_alone(host: str, hears: bytes) -> None:
    with listening(host) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", LISTENER, *map(str, server.getsockname())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        there, _ = server.accept()
        with there:
            there.settimeout(60)
            assert there.recv(100) == b"ready"
            before = descriptors()
            deafen(child.pid, [LOST])
            assert descriptors() == before
            there.sendall(b"an old word")
        out, _ = child.communicate(b"\n", timeout=60)
    assert (child.returncode, out) == (0, hears)

"""What comes from a lost host is dropped, whatever connection it comes by."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beowulf.job.wall import shut_out

# Says that it is there, and fails if it hears anything once its input ends.
TALKER = """
import socket, sys
one = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
one.sendall(b"ready")
sys.stdin.readline()
one.settimeout(0.3)
try:
    sys.exit(len(one.recv(100)))
except TimeoutError:
    pass
"""
LOST, LEFT = "127.0.0.2", "127.0.0.3"  # both are this computer


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        one.settimeout(0.3)
        yield one


def connect(server: socket.socket, source: str) -> socket.socket:
    one = socket.socket()
    one.settimeout(0.3)
    one.bind((source, 0))
    one.connect(server.getsockname())
    return one


def test_connections_from_a_lost_host_bring_nothing_any_more() -> None:
    with listening() as server, connect(server, LOST) as lost, connect(server, LEFT) as left:
        accepted = [server.accept()[0] for _ in range(2)]
        shut_out([LOST])
        for one in (lost, left):
            one.sendall(b"who is left?")
        by_host = {one.getpeername()[0]: one for one in accepted}
        assert by_host[LEFT].recv(100) == b"who is left?"
        by_host[LOST].settimeout(0.3)
        with pytest.raises(TimeoutError):
            by_host[LOST].recv(100)
        for one in accepted:
            one.close()


def test_a_lost_host_makes_no_new_connection_and_others_do() -> None:
    with listening() as server:
        shut_out([LOST, "127.0.0.9"])
        with pytest.raises(TimeoutError):
            connect(server, LOST)
        connect(server, LEFT).close()
        shut_out([LEFT])
        with pytest.raises(TimeoutError):
            connect(server, LEFT)


def test_descriptors_are_left_as_they_were() -> None:
    with listening() as server:
        before = sorted(Path("/proc/self/fd").iterdir())
        blocking = server.getblocking()
        shut_out([LOST, "no such host.invalid"])
        shut_out([])
        assert sorted(Path("/proc/self/fd").iterdir()) == before
        assert server.getblocking() == blocking


def test_a_child_s_connections_bring_nothing_any_more_either() -> None:
    with listening() as server:
        child = subprocess.Popen(
            [sys.executable, "-c", TALKER, str(server.getsockname()[1])], stdin=subprocess.PIPE
        )
        there, _ = server.accept()
        with there:
            there.settimeout(5)
            assert there.recv(100) == b"ready"
            shut_out(["127.0.0.1"], child.pid)
            there.sendall(b"an old word")
            child.communicate(b"\n", timeout=60)
    assert child.returncode == 0

"""A port of this computer that leads to a port on the far side."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from beowulf.errors import HostKeyMismatch, InvalidInput
from tests.unit.transport.conftest import Connect, Serve
from tests.unit.transport.ssh_server import Server


@contextlib.contextmanager
def echoing() -> Iterator[int]:
    """Listen on a port and send everything back, until each connection's end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65_536):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=echo, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def answer(port: int, data: bytes) -> bytes:
    """Send ``data`` to a port, end it, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        threading.Thread(target=_send, args=[connection, data], daemon=True).start()
        received = bytearray()
        while piece := connection.recv(65_536):
            received += piece
    return bytes(received)


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def test_bytes_go_there_and_back(server: Server, connect: Connect) -> None:
    data = os.urandom(3_000_000)
    with echoing() as port, connect(server).forward(0, "127.0.0.1", port) as forward:
        assert answer(forward.port, data) == data
        assert answer(forward.port, b"again") == b"again"
    assert server.logins == 1


def test_it_listens_on_this_computer_s_own_address_only(server: Server, connect: Connect) -> None:
    with connect(server).forward(0, "127.0.0.1", 1) as forward:
        assert forward._listener.getsockname()[0] == "127.0.0.1"


def test_it_goes_on_over_a_new_connection_when_the_old_one_is_lost(
    server: Server, connect: Connect
) -> None:
    with echoing() as port, connect(server).forward(0, "127.0.0.1", port) as forward:
        assert answer(forward.port, b"one") == b"one"
        server.hang_up()
        assert answer(forward.port, b"two") == b"two"
    assert server.logins == 2


def test_after_closing_nobody_listens(server: Server, connect: Connect) -> None:
    forward = connect(server).forward(0, "127.0.0.1", 1)
    forward.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", forward.port), 10)


def test_a_port_that_is_taken_is_refused(server: Server, connect: Connect) -> None:
    with echoing() as port, pytest.raises(InvalidInput, match=f"{port}: Address already in use"):
        connect(server).forward(port, "127.0.0.1", 1)


def test_a_connection_that_cannot_be_carried_is_reported(serve: Serve, connect: Connect) -> None:
    reports: list[str] = []
    with connect(serve(forwards=False)).forward(0, "node2", 6006, reports.append) as forward:
        assert answer(forward.port, b"") == b""
        deadline = time.monotonic() + 30
        while not reports and time.monotonic() < deadline:
            time.sleep(0.01)
    assert reports[0].startswith("node2:6006 as seen from 127.0.0.1:")


def test_errors_of_the_connection_come_at_once(server: Server, connect: Connect) -> None:
    with pytest.raises(HostKeyMismatch):
        connect(server, pinned=None).forward(0, "127.0.0.1", 1)

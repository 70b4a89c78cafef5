"""Connections to a local port are carried to a node's port, each for itself."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import InvalidInput, Unreachable
from beowulf.runner.relay import LOOPBACK, listen, relay
from beowulf.transport.local import LocalConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from beowulf.transport.connection import Conversation


class Echo:
    """A head whose ``ssh -W`` gives back in capitals what it gets."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.away = False

    def converse(self, arguments: Sequence[str]) -> Conversation:
        self.asked.append(list(arguments))
        if self.away:
            raise Unreachable("ada@head: does not answer")
        return LocalConnection().converse(["tr", "a-z", "A-Z"])


@pytest.fixture
def head() -> Echo:
    return Echo()


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def port(head: Echo, complaints: list[str]) -> Iterator[int]:
    listener = listen(0)
    arguments = (listener, head, "node2", 6006, complaints.append)
    thread = threading.Thread(target=relay, args=arguments, daemon=True)
    thread.start()
    number: int = listener.getsockname()[1]
    yield number
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)
    assert not thread.is_alive()


def said_to(port: int, text: bytes) -> bytes:
    with socket.create_connection((LOOPBACK, port), timeout=30) as client:
        sending = threading.Thread(target=_send_all, args=(client, text))
        sending.start()
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
        sending.join(30)
        return answer


def _send_all(client: socket.socket, text: bytes) -> None:
    client.sendall(text)
    client.shutdown(socket.SHUT_WR)


def test_each_connection_is_carried_both_ways(port: int, head: Echo) -> None:
    assert said_to(port, b"first") == b"FIRST"
    assert said_to(port, b"x" * 1_000_000) == b"X" * 1_000_000
    words = ["ssh", "-o", "BatchMode=yes", "-W", "127.0.0.1:6006", "node2"]
    assert head.asked == [words, words]


def test_one_that_fails_ends_alone(port: int, head: Echo, complaints: list[str]) -> None:
    head.away = True
    assert said_to(port, b"") == b""
    assert complaints == ["ada@head: does not answer"]
    head.away = False
    assert said_to(port, b"second") == b"SECOND"


def test_a_port_that_is_taken_is_refused() -> None:
    with listen(0) as taken, pytest.raises(InvalidInput, match="--local-port: cannot listen on"):
        listen(taken.getsockname()[1])

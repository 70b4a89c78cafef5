"""A host is silent if it does not answer where others do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from beowulf.runner.reachable import ANSWER_S, EVERY_S, HostProbe

# All of 127.0.0.0/8 is this computer; who listens on one address does not on another.
HERE, THERE = "127.0.0.1", "127.0.0.2"


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which the first host answers."""
    with socket.create_server((HERE, 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def silence(port: int) -> Iterator[None]:
    """Have the second host answer nobody: a queue that is full drops who asks (listen(2))."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_server((THERE, port), backlog=0))
        for _ in range(2):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex((THERE, port))
        yield


def test_who_answers_is_not_silent(port: int) -> None:
    assert HostProbe([HERE], port).ask_all() == []


def test_who_does_not_answer_is_silent_and_not_waited_for(port: int) -> None:
    probe = HostProbe([HERE, THERE], port)
    with silence(port):
        assert probe.ask_all() == [THERE]
        assert probe.wait_for_service(3600.0, [HERE, THERE]) == [THERE]


def test_who_refuses_is_there_but_out_of_service(port: int) -> None:
    probe = HostProbe([HERE, THERE], port)
    assert probe.ask_all() == []
    assert probe.out_of_service() == [THERE]
    assert probe.wait_for_service(1.5, [HERE, THERE]) == [THERE]
    assert probe.wait_for_service(3600.0, [HERE]) == []


def test_who_refuses_is_waited_for(port: int) -> None:
    probe = HostProbe([HERE, THERE], port)
    with socket.socket() as server:
        server.bind((THERE, port))  # refuses as long as it does not listen
        started = threading.Timer(0.5, server.listen)
        started.start()
        begun = time.monotonic()
        assert probe.wait_for_service(3600.0, [HERE, THERE]) == []
        assert time.monotonic() > begun + 0.4
        started.join()


def test_where_nobody_answers_the_question_is_wrong(port: int) -> None:
    assert HostProbe([THERE], port).ask_all() == []


def test_a_name_that_means_nothing_says_nothing(port: int) -> None:
    assert HostProbe([HERE, "no.such.host.invalid"], port).ask_all() == []


def test_silence_is_counted_from_the_first_question_and_ends_with_an_answer(port: int) -> None:
    probe = HostProbe([HERE, THERE], port)
    with silence(port):
        for now in (100.0, 100.0 + ANSWER_S, 100.0 + EVERY_S, 100.0 + EVERY_S + ANSWER_S):
            probe.look(now)
    assert probe.silent(110.0, 10.0) == [THERE]
    assert probe.silent(109.0, 10.0) == []
    with socket.create_server((THERE, port)):
        probe.look(120.0)
        probe.look(121.0)
        assert probe.silent(130.0, 10.0) == []
    probe.close()

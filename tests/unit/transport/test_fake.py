"""The fake connection does what it promises to the tests that rely on it."""

import pytest

from beowulf.errors import CommandFailed, ConnectionLost, Unreachable
from beowulf.transport.connection import Connection
from beowulf.transport.fake import Answer, Call, FakeConnection


def test_answers_come_in_order_and_calls_are_kept() -> None:
    fake = FakeConnection([Answer(b"one"), Answer(b"", 3, "bad\n")])
    connection: Connection = fake
    assert connection.run(["first"], stdin="data").output == "one"
    with pytest.raises(CommandFailed, match="second: exit 3: bad"):
        connection.run(["second"])
    assert fake.calls == [Call(("first",), b"data"), Call(("second",), b"")]


def test_a_function_may_answer() -> None:
    fake = FakeConnection(lambda call: Answer(call.input.upper()))
    with fake.converse(["shout"]) as talk:
        talk.send(b"a")
        talk.send(b"b")
        talk.end_input()
        assert talk.receive(1) + talk.receive() == b"AB"
        assert talk.receive() == b""
        assert talk.finish().status == 0


def test_it_is_lost_at_a_command_and_there_at_the_next() -> None:
    fake = FakeConnection([Answer(b"one"), Answer(b"two")], lost_at=2)
    fake.run(["a"])
    with pytest.raises(ConnectionLost):
        fake.run(["b"])
    assert fake.run(["c"]).output == "two"


def test_it_is_lost_after_some_bytes() -> None:
    fake = FakeConnection([Answer(b"abcdef", lost_after=4)])
    with fake.converse(["x"]) as talk:
        assert talk.receive(3) + talk.receive() == b"abcd"
        with pytest.raises(ConnectionLost):
            talk.receive()
        with pytest.raises(ConnectionLost):
            talk.finish()


def test_an_error_in_the_script_is_raised_and_too_short_a_script_is_a_failure() -> None:
    fake = FakeConnection([Unreachable("off")])
    with pytest.raises(Unreachable, match="off"):
        fake.run(["x"])
    with pytest.raises(AssertionError, match="no answer"):
        fake.run(["x"])

"""Running a command on this computer."""

import os
import time

import pytest

from beowulf.errors import CommandFailed, ConnectionLost
from beowulf.transport.local import LocalConnection, LocalConversation, run


def test_it_returns_what_the_command_printed() -> None:
    finished = run(["sh", "-c", "cat; echo words >&2"], stdin="data")
    assert (finished.status, finished.output, finished.errors) == (0, "data", "words\n")


def test_a_failure_names_the_command_its_status_and_its_last_words() -> None:
    with pytest.raises(CommandFailed, match=r"^sh -c .*: exit 3: second$"):
        run(["sh", "-c", "echo first >&2; echo second >&2; exit 3"])


def test_a_failure_that_is_expected_is_returned() -> None:
    assert run(["sh", "-c", "exit 3"], check=False).status == 3


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(CommandFailed, match="no-such-program: not installed"):
        run(["no-such-program", "argument"])


def test_a_command_that_does_not_end_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(CommandFailed, match=r"sleep 60: no end after 0\.2 s"):
        run(["sleep", "60"], timeout_s=0.2)
    assert time.monotonic() - began < 30


def test_the_environment_is_added_to() -> None:
    assert run(["sh", "-c", "echo $EXTRA ${PATH:+path}"], environment={"EXTRA": "1"}).output == (
        "1 path\n"
    )


def test_words_are_never_read_by_a_shell() -> None:
    assert run(["echo", "$(id); *"]).output == "$(id); *\n"


def test_control_characters_stay_out_of_the_message() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", r"printf 'a\033[31mb\n' >&2; exit 1"])
    assert "\x1b" not in str(caught.value)


# A connection to this computer


def receive_all(talk: LocalConversation) -> bytes:
    return b"".join(iter(lambda: talk.receive(timeout_s=60), b""))


def test_a_connection_to_this_computer_runs_commands_on_it() -> None:
    connection = LocalConnection()
    assert connection.run(["cat"], stdin="data").output == "data"
    with pytest.raises(CommandFailed, match="exit 1"):
        connection.run(["false"])


def test_ten_megabytes_go_both_ways_at_once() -> None:
    data = os.urandom(1 << 20) * 10
    with LocalConnection().converse(["cat"]) as talk:
        talk.send(data)
        talk.end_input()
        assert receive_all(talk) == data
        assert talk.finish(60).status == 0


def test_errors_hold_nothing_up_and_their_end_is_kept() -> None:
    words = "head -c 3000000 /dev/zero | tr '\\0' e >&2; echo end >&2; echo out; exit 7"
    with LocalConnection().converse(["sh", "-c", words]) as talk:
        assert receive_all(talk) == b"out\n"
        finished = talk.finish(60)
    assert finished.status == 7
    assert finished.errors.endswith("eee" + "end\n")
    assert len(finished.errors) <= 65_536


def test_a_command_that_waits_for_errors_to_be_read_takes_its_input() -> None:
    words = "head -c 3000000 /dev/zero >&2; cat"
    with LocalConnection().converse(["sh", "-c", words]) as talk:
        talk.send(b"x" * 300_000)
        talk.end_input()
        assert len(receive_all(talk)) == 300_000
        assert talk.finish(60).status == 0


def test_what_nobody_received_does_not_hold_up_the_end() -> None:
    with LocalConnection().converse(["head", "-c", "3000000", "/dev/zero"]) as talk:
        assert talk.finish(60).status == 0


def test_a_piece_is_no_larger_than_asked_for() -> None:
    with LocalConnection().converse(["cat"]) as talk:
        talk.send(b"abcdef")
        talk.end_input()
        pieces = list(iter(lambda: talk.receive(4, timeout_s=60), b""))
    assert b"".join(pieces) == b"abcdef"
    assert max(map(len, pieces)) <= 4


def test_input_to_a_command_that_has_ended_says_so() -> None:
    with LocalConnection().converse(["true"]) as talk:
        assert talk.receive(timeout_s=60) == b""
        with pytest.raises(ConnectionLost, match="true ended early"):
            talk.send(b"x" * 1_000_000)
        assert talk.finish(60).status == 0


def test_silence_is_told_after_as_long_as_one_waits() -> None:
    talk = LocalConnection().converse(["sleep", "30"])
    try:
        with pytest.raises(ConnectionLost, match=r"no word after 0\.2 s"):
            talk.receive(timeout_s=0.2)
        with pytest.raises(ConnectionLost, match=r"has not ended after 0\.2 s"):
            talk.finish(0.2)
    finally:
        talk._process.kill()
        talk.close()


def test_a_conversation_with_a_program_that_is_not_there_is_refused() -> None:
    with pytest.raises(CommandFailed, match="no-such-program: not installed"):
        LocalConnection().converse(["no-such-program"])


def test_a_shell_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115 - closed with it
    with pytest.raises(CommandFailed, match="there is no terminal here"):
        LocalConnection().shell(["true"])

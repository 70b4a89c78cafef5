"""Running a command on this computer."""

import time

import pytest

from beowulf.errors import CommandFailed
from beowulf.transport.local import run


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

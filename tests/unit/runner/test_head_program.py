"""What the client makes of what the head's program says."""

from __future__ import annotations

import pytest

from beowulf.errors import CommandFailed, ConnectionLost, JobNotFound
from beowulf.head.frames import Frame
from beowulf.runner.head_program import HeadProgram
from beowulf.runner.slurm import SlurmBackend
from beowulf.transport.fake import Answer, FakeConnection


def said(*frames: Frame) -> FakeConnection:
    return FakeConnection([Answer(b"".join(frame.encode() for frame in frames))])


def test_a_sign_of_life_is_no_answer() -> None:
    connection = said(Frame({"waiting": ["1"]}), Frame({"waiting": True}), Frame({"jobs": []}))
    assert SlurmBackend("lab", connection).cancel(["1"]) == []


def test_an_error_behind_signs_of_life_is_raised() -> None:
    error = {"kind": "JobNotFound", "message": "no job '1'"}
    connection = said(Frame({"waiting": ["1"]}), Frame({"error": error}))
    with pytest.raises(JobNotFound, match="no job '1'"):
        SlurmBackend("lab", connection).cancel(["1"])


@pytest.mark.parametrize(
    ("status", "errors", "words"),
    [
        (1, "This account is currently not available.\n", "This account is currently not"),
        (0, "", "it ended unasked, with status 0"),
        (255, "", "it ended unasked, with status 255"),
    ],
)
def test_a_program_that_never_began_is_no_lost_connection(
    status: int, errors: str, words: str
) -> None:
    connection = FakeConnection([Answer(b"", status, errors)])
    with (
        pytest.raises(CommandFailed, match=f"cannot run beowulf's program there: {words}"),
        HeadProgram(connection).ask("records"),
    ):
        pass


def test_an_answer_that_is_cut_short_is_one() -> None:
    connection = FakeConnection([Answer(Frame({"jobs": []}).encode(), lost_after=5)])
    with pytest.raises(ConnectionLost), HeadProgram(connection).ask("records"):
        pass

"""What a job prints is read on a terminal, and never obeyed by it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.cli.harmless import KEPT, MOST_CHARACTERS, Harmless, line, log_writer
from beowulf.cli.table import Table
from tests.conftest import BEOWULF
from tests.unit.cli.test_listings import end, make_job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Beowulf

TITLE = b"\x1b]0;owned\x07"
CLEAR = b"\x1b[2J\x1b[H"
ASK = b"\x1b[6n"  # the terminal answers, as if somebody typed


def harmless(*pieces: bytes) -> str:
    shown = Harmless()
    return "".join(map(shown, [*pieces, b""]))


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"plain \xc3\xa9\n\tin\r", "plain é\n\tin\r"),
        (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        (TITLE + b"x", "\\x1b]0;owned\\x07x"),
        (CLEAR, "\\x1b[2J\\x1b[H"),
        (ASK, "\\x1b[6n"),
        (b"a\x08\x7f\xc2\x9b2J", "a\\x08\\x7f\\x9b2J"),
        ("\u202eliame".encode(), "\\u202eliame"),
        (b"\xff\x1b", "\ufffd\\x1b"),
    ],
)
def test_colours_stay_and_all_else_is_spelled_out(printed: bytes, shown: str) -> None:
    assert harmless(printed) == shown
    assert harmless(*(printed[at : at + 1] for at in range(len(printed)))) == shown


@given(st.lists(st.binary(min_size=1, max_size=20)))
def test_whatever_comes_nothing_but_colours_commands(pieces: list[bytes]) -> None:
    assert KEPT.sub("", harmless(*pieces)).isprintable()


def test_a_line_is_one_and_has_an_end() -> None:
    assert line("a\nb\x1b[0m") == "a\\nb\\x1b[0m"
    assert line("é" * MOST_CHARACTERS) == "é" * MOST_CHARACTERS
    assert line("x" * 10**6) == "x" * MOST_CHARACTERS + "..."


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("kind", "shown"), [(Terminal, b"\\x1b[2J"), (io.TextIOWrapper, b"\x1b[2J")]
)
def test_a_log_is_passed_on_as_it_is_but_to_a_terminal(kind: Any, shown: bytes) -> None:
    raw = io.BytesIO()
    write = log_writer(kind(raw))
    for piece in (b"\x1b", b"[2J", b""):
        write(piece)
    assert raw.getvalue() == shown


def test_a_table_spells_out_what_others_call_their_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    Table(frozenset(), "NAME").show([{"NAME": "a\x1b[2J\nb"}])
    assert capsys.readouterr().out.split() == ["NAME", "a\\x1b[2J\\nb"]


def test_a_job_s_own_words_command_no_terminal(beowulf: Beowulf, state_home: Path) -> None:
    """Its name, result, pictures and last lines, in every verb that shows them."""
    hostile = (TITLE + CLEAR).decode()
    done = make_job(state_home, 1, name=f"n{hostile}")
    done.result.write_text('{"score": "\\u001b[2J", "\\u001b[6n": 1}')
    (done.path / f"loss{hostile.replace('/', '')}.png").touch()
    end(done, "COMPLETED", 0)
    failed = make_job(state_home, 2)
    failed.log.write_bytes(b"x" * 10**6 + CLEAR + b"\nlast" + ASK + b"\n")
    end(failed, "FAILED", 3, hostile)
    for words in (["jobs"], ["status", "1"], ["status", "2"], ["fetch", "1", "--to", "x"]):
        answer = beowulf(*words, cwd=state_home)
        assert answer.returncode == 0, answer.stderr
        assert "\x1b" not in answer.stdout + answer.stderr, words
        assert "\\x1b" in answer.stdout, words
        assert len(answer.stdout + answer.stderr) < 4_000


@pytest.mark.parametrize(
    "words", [["logs", "1"], ["logs", "-f", "1"], ["logs", "--tail", "5", "1"]]
)
def test_logs_on_a_terminal_command_nothing(state_home: Path, words: list[str]) -> None:
    job = make_job(state_home, 1)
    job.log.write_bytes(b"\x1b[32mgreen\x1b[0m" + ASK + TITLE + b"\n")
    end(job, "COMPLETED", 0)
    ours, theirs = pty.openpty()
    env = {**os.environ, "XDG_STATE_HOME": str(state_home), "BEOWULF_CLUSTER": "local"}
    try:
        subprocess.run([BEOWULF, *words], stdout=theirs, env=env, check=True, timeout=120)
        shown = os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown == b"\x1b[32mgreen\x1b[0m\\x1b[6n\\x1b]0;owned\\x07\r\n"

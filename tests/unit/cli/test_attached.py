"""Above a live line, what ranks print comes in whole lines, and all of it comes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console

from beowulf.cli import attached
from beowulf.cli.attached import LONGEST_LINE_BYTES, _whole_lines, attend
from beowulf.job.follow import News
from beowulf.job.record import read_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from beowulf.job.directory import JobDirectory


def test_parts_of_a_line_wait_for_its_end_and_the_last_one_for_the_end_of_all() -> None:
    shown: list[bytes] = []
    write = _whole_lines(shown.append)
    for text in (b"one\ntw", b"o\nthr", b"ee", b""):
        write(text)
    assert shown == [b"one\n", b"two\n", b"three\n"]
    write(b"")
    assert len(shown) == 3


def test_a_line_without_an_end_does_not_wait_for_ever() -> None:
    shown: list[bytes] = []
    write = _whole_lines(shown.append)
    write(b"x" * LONGEST_LINE_BYTES)
    assert shown == []
    write(b"x")
    assert shown == [b"x" * (LONGEST_LINE_BYTES + 1) + b"\n"]


def test_what_is_attended_on_a_terminal_is_shown_and_not_obeyed(
    job: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json the log goes to standard error, where the live line is."""
    record = read_record(job, responsible=False)

    class Backend:
        def follow(self, *_: object) -> Iterator[News]:
            yield News(record, b"\x1b[32mgreen\x1b[0m \x1b[2Jnot cle")
            yield News(record, b"ared\n")

    terminal = io.StringIO()

    def console(**_: Any) -> Console:
        return Console(file=terminal, force_terminal=True, width=100)

    monkeypatch.setattr(attached, "Console", console)
    backend: Any = Backend()
    attend(backend, record, 0, as_json=True)
    assert "\x1b[32mgreen\x1b[0m \\x1b[2Jnot cleared\n" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()

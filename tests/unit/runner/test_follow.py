"""A job's log is followed by byte offset, and what comes last is not missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from beowulf.runner import follow as follow_module
from beowulf.runner.follow import LogReader, follow

if TYPE_CHECKING:
    from pathlib import Path


def test_each_byte_is_read_once(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    reader = LogReader(log)
    assert reader.read() == b""
    log.write_bytes(b"first \xff\n")
    assert reader.read() == b"first \xff\n"
    assert reader.read() == b""
    with log.open("ab") as file:
        file.write(b"sec")
        file.flush()
        assert reader.read() == b"sec"
        file.write(b"ond\n")
    assert reader.read() == b"ond\n"
    assert reader.offset == log.stat().st_size


def test_reading_can_start_later(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_bytes(b"before\nafter\n")
    assert LogReader(log, offset=7).read() == b"after\n"


def test_what_is_printed_just_before_the_end_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "POLL_S", 0)
    log = tmp_path / "output.log"
    log.write_bytes(b"one\n")
    asked = 0
    shown: list[bytes] = []
    progress: list[int] = []

    def is_over() -> bool:
        nonlocal asked
        asked += 1
        with log.open("ab") as file:
            file.write(b"%d\n" % asked)  # the job prints while it is being asked
        return asked == 4

    follow(LogReader(log), shown.append, is_over, lambda: progress.append(asked))
    assert b"".join(shown) == b"one\n1\n2\n3\n4\n"
    assert progress == [1, 2, 3, 4]


def test_a_job_that_prints_nothing(tmp_path: Path) -> None:
    shown: list[bytes] = []
    follow(LogReader(tmp_path / "missing"), shown.append, lambda: True)
    assert shown == []

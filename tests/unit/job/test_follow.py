"""A job's log is followed by byte offset, and what comes last is not missed."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING
from unittest import mock

import hypothesis
import pytest
from hypothesis import strategies

from beowulf.job import follow
from beowulf.job.events import record_event
from beowulf.job.follow import LogReader, news, pieces
from beowulf.job.record import JobRecord, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.job.directory import JobDirectory


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


def test_reading_can_start_later_and_bring_less(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_bytes(b"before\nafter\n")
    reader = LogReader(log, offset=7)
    assert [reader.read(4), reader.read(4), reader.read(4)] == [b"afte", b"r\n", b""]


def test_what_is_printed_just_before_the_end_is_told(job: JobDirectory) -> None:
    job.log.write_bytes(b"0\n")
    asked = 0

    def read() -> JobRecord:
        nonlocal asked
        asked += 1
        if asked <= 4:
            with job.log.open("ab") as file:
                file.write(b"%d\n" % asked)  # the job prints while it is being asked
        if asked == 4:
            record_event(job, "ended", state="COMPLETED", reason="", exit_code=0)
            job.exit_code.write_text("0\n")
        return read_record(job, responsible=asked < 4)

    told = list(news(LogReader(job.log), read, poll_s=0))
    assert b"".join(one.log for one in told) == b"0\n1\n2\n3\n4\n"
    assert told[-1].record.state == "COMPLETED"
    assert [one.record.is_over for one in told[:3]] == [False] * 3


def test_a_job_that_prints_nothing(job: JobDirectory) -> None:
    told = list(news(LogReader(job.path / "missing"), lambda: read_record(job)))
    assert [one.log for one in told] == [b""]


@hypothesis.given(
    text=strategies.text("ab\n", max_size=60).map(str.encode),
    lines=strategies.integers(0, 12),
    block=strategies.integers(1, 9),
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_the_last_lines_are_those_that_one_would_count(
    tmp_path: Path, text: bytes, lines: int, block: int
) -> None:
    log = tmp_path / "output.log"
    log.write_bytes(text)
    expected = text.splitlines(keepends=True)[-lines:] if lines else []
    with mock.patch.object(follow, "BLOCK_BYTES", block):
        reader = LogReader(log)
        assert b"".join(pieces(reader, lines)) == b"".join(expected)
        assert reader.offset == len(text)


@pytest.mark.parametrize("lines", [None, 2, 10**30])
def test_a_long_line_is_never_held_whole(tmp_path: Path, lines: int | None) -> None:
    log = tmp_path / "output.log"
    with log.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(0, 2)
        file.write(b"\nlast\n")
    tracemalloc.start()
    size = sum(map(len, pieces(LogReader(log), lines)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == (64 << 20) + 6
    assert most < 4 << 20


def test_what_is_printed_while_a_log_is_read_is_for_another_time(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_bytes(b"x" * 10)
    reader = LogReader(log)
    told = pieces(reader)
    with mock.patch.object(follow, "PIECE_BYTES", 4):
        first = next(told)
        log.write_bytes(b"x" * 10 + b"later")
        assert first + b"".join(told) == b"x" * 10
    assert reader.offset == 10

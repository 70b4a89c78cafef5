"""Follow a job while it runs: its log by byte offset, and its record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.durable import read_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from beowulf.job.record import JobRecord

POLL_S = 0.1
MOST_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class News:
    """How a job is now, and what it has printed since the news before."""

    record: JobRecord
    log: bytes


@dataclass
class LogReader:
    """Read what has been added to a file since the last time."""

    path: Path
    offset: int = 0

    def size(self) -> int:
        """Return how many bytes the file has now."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def read(self, most: int = -1) -> bytes:
        """Return the new bytes, perhaps none; a file that is not there yet has none."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                new = file.read(most)
        except FileNotFoundError:
            return b""
        self.offset += len(new)
        return new


def news(
    log: LogReader, read_record: Callable[[], JobRecord], poll_s: float = POLL_S
) -> Iterator[News]:
    """Yield how a job is and what it prints, until it is over and all of it was told."""
    while True:
        record = read_record()  # first, so that what was printed before the end is not missed
        new = log.read(MOST_BYTES)
        yield News(record, new)
        if new:
            continue
        if record.is_over:
            return
        time.sleep(poll_s)


def pieces(log: LogReader, lines: int | None = None) -> Iterator[bytes]:
    """Yield what is in a log now, or its last ``lines`` lines, however long they are.

    What is printed meanwhile is for another time: ``log.offset`` says where it begins.
    """
    end = log.size()
    if lines is not None:
        log.offset = start_of_last_lines(log.path, lines, end)
    while piece := log.read(min(PIECE_BYTES, max(0, end - log.offset))):
        yield piece


def start_of_last_lines(path: Path, lines: int, end: int) -> int:
    """Return where the last ``lines`` lines of the first ``end`` bytes of a file begin.

    It is looked for from the end, a block at a time, and nothing of it is kept.
    """
    wanted = lines
    before = end - 1  # what ends the last line begins no other
    while wanted and before > 0:
        begin = max(0, before - BLOCK_BYTES)
        block = LogReader(path, begin).read(before - begin)
        found = len(block)
        while wanted and (found := block.rfind(b"\n", 0, found)) >= 0:
            wanted -= 1
            if not wanted:
                return begin + found + 1
        before = begin
    return 0 if lines else end


def last_words(path: Path) -> bytes:
    """Return the end of a log: as much as a person would look at."""
    return read_tail(path, BLOCK_BYTES)

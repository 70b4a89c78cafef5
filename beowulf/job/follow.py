"""Follow a job while it runs: its log by byte offset, and its record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from beowulf.job.record import JobRecord

POLL_S = 0.1
MOST_BYTES = 1 << 20


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


def tail(log: LogReader, lines: int) -> bytes:
    """Return the last ``lines`` lines of a log, and read on from its end."""
    log.offset = log.size()
    window = 65_536
    while True:
        start = max(0, log.offset - window)
        data = LogReader(log.path, start).read(log.offset - start)
        found = data.splitlines(keepends=True)
        if start == 0 or len(found) > lines:  # the first one may be the end of a line
            return b"".join(found[-lines:]) if lines else b""
        window *= 8

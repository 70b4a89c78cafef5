"""Follow a job while it runs: its log by byte offset, its metrics line by line."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


POLL_S = 0.1


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

    def read(self) -> bytes:
        """Return the new bytes, perhaps none; a file that is not there yet has none."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                new = file.read()
        except FileNotFoundError:
            return b""
        self.offset += len(new)
        return new


def follow(
    log: LogReader,
    write: Callable[[bytes], None],
    is_over: Callable[[], bool],
    show_progress: Callable[[], None] = lambda: None,
) -> None:
    """Pass on what a job prints until it is over, and show its progress in between."""
    while True:
        over = is_over()  # asked first, so that what was printed before the end is not missed
        new = log.read()
        if new:
            write(new)
        show_progress()
        if over:
            return
        if not new:
            time.sleep(POLL_S)

"""Write one line per step without making the step wait for the disk."""

from __future__ import annotations

import errno
import json
import os
import time
from typing import TYPE_CHECKING, Any

from beowulf.durable import CANNOT_WRITE, append, open_to_append, read_json_lines, write_file
from beowulf.errors import Fenced

if TYPE_CHECKING:
    from pathlib import Path

FLUSH_EVERY_S = 0.5


class MetricsWriter:
    """Append lines to ``metrics.jsonl``. Only rank 0 has one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[dict[str, Any]] = []
        self._waiting = b""  # lines that found no room
        self._flushed_at = 0.0
        self._file: int | None = None

    def append(self, line: dict[str, Any]) -> None:
        """Add a line; it reaches the file within half a second of training."""
        self._lines.append(line)  # turned into text when written: many at once are cheaper
        if time.monotonic() - self._flushed_at > FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write out what is waiting. If the disk is full, it goes on waiting, and grows."""
        self._flushed_at = time.monotonic()
        if self._lines:
            self._waiting += "".join(f"{json.dumps(line)}\n" for line in self._lines).encode()
            self._lines.clear()
        if self._waiting:
            try:
                if self._file is None:
                    self._file = open_to_append(self.path)
                append(self._file, self._waiting)
            except OSError as error:
                if error.errno == errno.ESTALE:
                    raise Fenced("metrics: another rank has replaced the file") from None
                if error.errno not in CANNOT_WRITE:
                    raise
                return
            self._waiting = b""

    def forget_after(self, step: int) -> dict[str, Any]:
        """Drop the lines after ``step``, which is done again, and return the last one kept.

        The file is made anew, so that nobody else writes into it any more; if the disk is full
        it stays as it is, as long as there is nothing to drop.

        Raises:
            OSError: The disk is full, and there is.
        """
        lines = read_json_lines(self.path)
        kept = [line for line in lines if line.get("step", 0) <= step]
        try:
            write_file(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        except OSError as error:
            if error.errno not in CANNOT_WRITE or len(kept) < len(lines):
                raise
        self.close()
        self._file = open_to_append(self.path)
        return kept[-1] if kept else {}

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

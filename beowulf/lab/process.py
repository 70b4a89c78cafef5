"""Know a process again: by its number and the moment it began.

A number alone may be another process's by now, after a reboot or a long time.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import psutil

from beowulf.durable import read_json, write_json
from beowulf.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

END_TIMEOUT_S = 20
LOOK_S = 0.01


@dataclass(frozen=True)
class Recorded:
    """One process, as written down when it was started."""

    pid: int
    began: float

    def find(self) -> psutil.Process | None:
        """Return the process if it still lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.began) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def record(path: Path, pid: int) -> Recorded:
    """Write down a process that was just started."""
    recorded = Recorded(pid, psutil.Process(pid).create_time())
    write_json(path, asdict(recorded))
    path.chmod(0o644)  # everybody may see what runs, as with ps
    return recorded


def read(path: Path) -> psutil.Process | None:
    """Return the process that was written down, if it still lives."""
    value = read_json(path)
    try:
        return Recorded(int(value["pid"]), float(value["began"])).find()
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


def end(path: Path) -> None:
    """Kill the process that was written down, and forget it."""
    process = read(path)
    if process is not None:
        kill([process])
    path.unlink(missing_ok=True)


def find_by_words(words: set[str]) -> list[psutil.Process]:
    """Return the processes whose command lines have all of these words."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if words <= set(process.cmdline()):
                found.append(process)
    return found


def kill(processes: Sequence[psutil.Process]) -> None:
    """Kill processes at once, and wait until they are gone.

    A zombie is gone: whoever started it has not noticed yet, which may take for ever.

    Raises:
        LabError: The kernel does not let one of them end.
    """
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + END_TIMEOUT_S
    while left := [process for process in processes if _lives(process)]:
        if time.monotonic() > deadline:
            raise LabError(f"process {left[0].pid} does not end, though it was killed")
        time.sleep(LOOK_S)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

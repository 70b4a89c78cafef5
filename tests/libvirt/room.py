"""A room for libvirt: namespaces that it cannot leave, and that end with one process."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from beowulf.transport.local import Finished, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--uts")
ENTRANCE = Path(__file__).with_name("room.sh")


@dataclass(frozen=True)
class Room:
    """A furnished room; ``pid`` is its first process, by the number that it has outside."""

    pid: int
    environment: Mapping[str, str]
    folder: Path

    def run(self, *words: str | Path, timeout_s: float = 120, check: bool = True) -> Finished:
        """Run a command inside, in the repository's root."""
        inside = ["nsenter", "--target", str(self.pid), "--all", f"--wdns={self.folder}"]
        return run(
            [*inside, *words], environment=self.environment, timeout_s=timeout_s, check=check
        )

    def processes(self) -> list[psutil.Process]:
        """Return all living processes inside but the first."""
        found = psutil.Process(self.pid).children(recursive=True)
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def furnished(scratch: Path, folder: Path, environment: Mapping[str, str]) -> Iterator[Room]:
    """Open a room whose libvirt keeps its files below ``scratch``; end all that is in it."""
    words = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child"]
    words += ["--mount-proc", "sh", str(ENTRANCE), str(scratch)]
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "ready\n", f"the room was not furnished: {line!r}"
            (first,) = psutil.Process(process.pid).children()
            yield Room(first.pid, environment, folder)
        finally:
            process.kill()  # the first process inside dies with it, and takes all others along

"""Let other computers see at once what is written to files on NFS."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from beowulf.durable import sync_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Shown:
    """Files whose growth is passed on to the server.

    A computer keeps what its programs wrote for up to half a minute to itself. Whoever else
    opens the file there can have it sent: the ranks and the launcher need not care.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._sizes = dict.fromkeys(paths, 0)

    def pass_on(self) -> None:
        """Send what was written to the files here since the last time."""
        for path, sent in self._sizes.items():
            with contextlib.suppress(OSError):
                size = path.stat().st_size
                if size != sent:
                    sync_file(path)
                    self._sizes[path] = size

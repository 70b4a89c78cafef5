"""What starts a node's kernel, when the node is switched on and when it reboots itself.

To reboot, User-Mode Linux starts itself again in its own place, by the first word it was
started with. All that it had opened stays open: its network card would be busy, with
itself. So that first word is this script, which closes everything first.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from beowulf.durable import write_file
from beowulf.lab.locked import locked

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """\
#!/bin/bash
for file in /proc/self/fd/*; do
  number="${file##*/}"
  [ "$number" -gt 2 ] && eval "exec $number>&-"
done
exec -a "$0" PROGRAM "$@"
"""


def ensure_firmware(path: Path, program: str) -> Path:
    """Write the script that starts ``program`` where there is none, or another; return its path."""
    script = SCRIPT.replace("PROGRAM", shlex.quote(program))
    with locked(path.with_name(f"{path.name}.lock")):
        if not path.exists() or path.read_text() != script or not os.access(path, os.X_OK):
            write_file(path, script.encode(), sync=False)
            path.chmod(0o700)
    return path

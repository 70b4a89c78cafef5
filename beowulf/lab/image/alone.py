"""Run a program that builds something, so that all of it ends with this process."""

from __future__ import annotations

import signal
import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# In namespaces of its own: whatever a package starts or mounts ends with the build, and
# the build ends with this process, even if that is killed.
ALONE = (
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip


def run_alone(
    words: Sequence[str], log: Path, read: Callable[[str], None], *, longest_s: float
) -> int:
    """Run a program to its end, but for ``longest_s`` seconds at most; return its exit status.

    Each line that it prints goes to the end of ``log`` and to ``read``.
    """
    process = subprocess.Popen(
        [*ALONE, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        encoding="utf-8",
        errors="replace",
        umask=0o022,  # a careful root's own would make what is built unreadable to its users
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"},
    )
    too_long = threading.Timer(longest_s, process.send_signal, [signal.SIGKILL])
    too_long.start()
    try:
        with log.open("a") as kept:
            for line in process.stdout or ():
                kept.write(line)
                read(line)
        return process.wait()
    finally:
        too_long.cancel()
        process.kill()  # with it ends everything in its process namespace
        process.communicate()  # the pipe ends when the last of them has

"""Turn a tree into a disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from beowulf.transport.local import run

if TYPE_CHECKING:
    from pathlib import Path

DISK_MB = 8192
JOURNAL_MB = 16


def pack(tree: Path, disk: Path) -> None:
    """Make ``disk``, a sparse file with one ext4 file system that holds ``tree``.

    The journal is small because each node's copy of the disk grows by all of it, in
    time; inode tables are left as holes, which read as zeros, for the same reason.
    """
    with disk.open("xb") as file:
        os.truncate(file.fileno(), DISK_MB * 1024 * 1024)
    options = ["-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-J", f"size={JOURNAL_MB}"]
    run(["mkfs.ext4", *options, "-d", tree, disk], timeout_s=300)
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def packages_in(tree: Path) -> dict[str, str]:
    """Return the version of every package that is installed in a tree."""
    form = "${db:Status-Abbrev}\t${Package}\t${Version}\n"
    asked = run(["dpkg-query", f"--admindir={tree}/var/lib/dpkg", "--show", f"--showformat={form}"])
    rows = [line.split("\t") for line in asked.output.splitlines()]
    return {name: version for status, name, version in rows if status.startswith("ii")}

"""Nodes that get a part of a core each: slow in earnest, where others only sleep.

Each is a control group of its own, beside this process's. A short period keeps what a node may
use from coming in lumps.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.network import NoNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 10_000
OWN = re.compile(r"^\d+:([\w,]*,)?cpu(,[\w,]*)?:(?P<path>.*)$", re.MULTILINE)


@contextmanager
def quotas(cores: Sequence[float]) -> Iterator[list[Path]]:
    """Give a file for each node: a process that writes its number there gets no more than that.

    Raises:
        NoNetwork: Control groups cannot be made here.
    """
    made: list[Path] = []
    try:
        for number, part in enumerate(cores):
            made.append(_group(f"beowulf-{os.getpid()}-{number}", round(part * PERIOD_US)))
        yield [group / "cgroup.procs" for group in made]
    except OSError as error:
        raise NoNetwork(f"CPU quotas: {error.strerror}: {error.filename}") from error
    finally:
        for group in made:
            group.rmdir()  # a group in which nothing runs


def _group(name: str, quota_us: int) -> Path:
    found = OWN.search(Path("/proc/self/cgroup").read_text())
    if found and (ROOT / "cpu").is_dir():  # the first version, a tree for each controller
        group = ROOT / "cpu" / found["path"].lstrip("/") / name
        limits = {"cpu.cfs_period_us": f"{PERIOD_US}", "cpu.cfs_quota_us": f"{quota_us}"}
    else:
        (ROOT / "cgroup.subtree_control").write_text("+cpu")
        group = ROOT / name
        limits = {"cpu.max": f"{quota_us} {PERIOD_US}"}
    group.mkdir()
    for file, value in limits.items():
        (group / file).write_text(value)
    return group

"""How long a lab takes to come up, and to go back to a snapshot. Needs root: ``beowulf lab``."""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from bench.harness import Report, Table, alternate, run_alone, summarize, verdict
from beowulf.lab import power, snapshot
from beowulf.lab.access import ssh_command
from beowulf.lab.directory import cache_directory, lab_directory
from beowulf.lab.image.build import ensure_image
from beowulf.lab.lab import destroy, up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from beowulf.lab.directory import LabDirectory

ROUNDS = 5
INVENTORY = Path(__file__).parents[1] / "inventory" / "lab"
NODES = ("head", "node1", "node2", "node3")
UP_TARGET_S = 45
RESTORE_TARGET_S = 30
BOUND = "up, 4 prepared nodes, each bound to one processor"
FREE = "up, 4 prepared nodes, moved about by the host"
KERNEL, SERVICES, LOGIN = "of that, kernel", "of that, services", "of that, all else"
SAVE, RESTORE = "snapshot save, 4 nodes", "snapshot restore, 4 nodes"
STARTUP = re.compile(r"([\d.]+)(m?s) \((kernel|userspace)\)")


def silent(_who: str, _what: str) -> None:
    """Report nothing: the words would be in the figures."""


@contextmanager
def lab() -> Iterator[LabDirectory]:
    """Give a lab of the benchmark's own, which is destroyed in the end."""
    directory = lab_directory(f"bench-{os.getpid()}")
    try:
        yield directory
    finally:
        destroy(directory, (), silent)


def seconds(do: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.monotonic()
    do()
    return time.monotonic() - began


def boot_times(directory: LabDirectory) -> dict[str, float]:
    """Return how long the slowest node's kernel and services took, in s."""
    found = {"kernel": 0.0, "userspace": 0.0}
    for node in NODES:
        asked = ssh_command(directory, node, ["systemd-analyze", "time"])
        told = subprocess.run(asked, capture_output=True, encoding="utf-8", check=True).stdout
        for number, unit, phase in STARTUP.findall(told):
            found[phase] = max(found[phase], float(number) / (1000 if unit == "ms" else 1))
    return found


def measure(rounds: int = ROUNDS) -> Report:
    """Compare nodes bound to processors with free ones; then time snapshots of the bound ones."""
    ensure_image("prepared", cache=cache_directory(), report=print)
    parts: dict[str, list[float]] = {KERNEL: [], SERVICES: [], LOGIN: [], SAVE: [], RESTORE: []}
    with lab() as directory:

        def start() -> None:
            up(directory, INVENTORY, "prepared", (), silent)

        def bound() -> float:
            destroy(directory, (), silent)
            whole = seconds(start)
            times = boot_times(directory)
            parts[KERNEL].append(times["kernel"])
            parts[SERVICES].append(times["userspace"])
            parts[LOGIN].append(whole - times["kernel"] - times["userspace"])
            parts[SAVE].append(seconds(lambda: snapshot.save(directory, "one", silent)))
            parts[RESTORE].append(seconds(lambda: snapshot.restore(directory, "one", silent)))
            return whole

        def free() -> float:
            destroy(directory, (), silent)
            everywhere = ",".join(map(str, sorted(os.sched_getaffinity(0))))
            with patch.object(power, "processor_of", return_value=everywhere):
                return seconds(start)

        times = alternate({BOUND: bound, FREE: free}, rounds, warm_up=0)
    figures = {name: summarize(values) for name, values in (times | parts).items()}
    order = (FREE, BOUND, KERNEL, SERVICES, LOGIN, SAVE, RESTORE)
    return Report(
        name="lab",
        title="The lab",
        table=Table(
            ["s", "median", "quartiles", "range"],
            [[name, *figures[name].cells(1)] for name in order],
        ),
        verdict="\n\n".join(
            (
                verdict("up to the last login", figures[BOUND].median, UP_TARGET_S, " s"),
                verdict(
                    "restore to the last login", figures[RESTORE].median, RESTORE_TARGET_S, " s"
                ),
            )
        ),
        figures=figures,
    )


if __name__ == "__main__":
    run_alone(__doc__, ROUNDS, measure)

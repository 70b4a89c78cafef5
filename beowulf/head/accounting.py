"""Ask Slurm's accounting, where there is one, how jobs ended that Slurm itself has forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import BeowulfError
from beowulf.head import queue

if TYPE_CHECKING:
    from collections.abc import Collection

TIMEOUT_S = 5.0  # the database may be away; the job's own files must do then
FIELDS = "JobIDRaw,State,NodeList,WorkDir"


@dataclass(frozen=True)
class Past:
    """One job that has ended, as ``sacct`` tells it."""

    number: int
    state: str
    nodes: str
    work_directory: str


def ends(numbers: Collection[int]) -> dict[int, Past]:
    """Return what is known of the ends of these jobs, with one question; nothing if none answers.

    Numbers are used again when a cluster is made anew: compare ``work_directory``.
    """
    if not numbers:
        return {}
    try:
        told = queue.slurm(*question(numbers), timeout_s=TIMEOUT_S)
    except BeowulfError:
        return {}
    return {past.number: past for past in parse(told)}


def question(numbers: Collection[int]) -> list[str]:
    """Return the words of the command that asks after these jobs."""
    jobs = ",".join(map(str, sorted(numbers)))
    how = ["--noheader", "--parsable2", "--allocations"]
    return ["sacct", *how, f"--jobs={jobs}", f"--format={FIELDS}"]


def parse(told: str) -> list[Past]:
    """Return the jobs in ``sacct``'s output that are over; other lines are passed over."""
    found = []
    for line in told.splitlines():
        number, _, rest = line.partition("|")
        fields = rest.split("|", 2)
        if not number.isdecimal() or len(fields) != 3:
            continue
        if fields[0].partition(" ")[0].rstrip("+") in queue.OVER:
            found.append(Past(int(number), *fields))
    return found

"""Agree in the job's directory who goes on after a loss: those who say so first, and only they.

Two parts of a cluster that don't see each other think the same of each other, and so does a
machine that was frozen and wakes. Where all of them can write but once, one of them is right.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.durable import see_anew
from beowulf.errors import RanksLost
from beowulf.job.events import read_events
from beowulf.job.heartbeat import read_heartbeat
from beowulf.job.survivors import Survivors, claim_survival

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory
    from beowulf.train.everybody import Everybody

MINORITY_PAUSE_S = 5.0  # for others, if there are more of them, to come first


@dataclass(frozen=True)
class Before:
    """What was so before a loss: how many ``losses`` and ``lost`` ranks there had been.

    ``step`` is how many steps are done.
    """

    attempt: int
    losses: int
    lost: int
    step: int


def agreed(everybody: Everybody, files: JobDirectory, before: Before) -> int:
    """Say who goes on; return how many losses that makes. Collective over those who are left.

    Raises:
        RanksLost: Others go on without these, or nobody does, since a script has failed or all
            ranks are started again.
    """
    number: int | None = None
    if everybody.comm.rank == 0 and not is_over(files, before.attempt, everybody.lost):
        if 2 * len(everybody.ranks) < everybody.size - before.lost:
            time.sleep(MINORITY_PAUSE_S)
        try:
            number = _claimed(everybody, files, before)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):  # MPI's launcher is gone, too
                print(f"beowulf: cannot say who goes on: {error}", file=sys.stderr, flush=True)
    number = everybody.comm.bcast(number)
    if number is None:
        raise RanksLost("nobody waits for this rank: others go on without it, or have failed")
    return number


def _claimed(everybody: Everybody, files: JobDirectory, before: Before) -> int | None:
    """Claim the next loss for those who are left; None if others have it."""
    number = before.losses
    while True:
        number += 1
        mine = Survivors(before.attempt, number, everybody.ranks, everybody.lost, before.step)
        there = claim_survival(files, mine)
        if there == mine:
            return number
        if everybody.rank not in there.ranks:
            return None


def is_over(files: JobDirectory, attempt: int, lost: tuple[int, ...]) -> bool:
    """Say whether nobody is to go on in this attempt."""
    return has_failed(files, attempt, lost) or grows(files, attempt)


def grows(files: JobDirectory, attempt: int) -> bool:
    """Say whether an attempt is being ended on purpose, to start again with more ranks."""
    return any(
        event.get("event") == "growing" and event.get("attempt") == attempt
        for event in read_events(files)
    )


def has_failed(files: JobDirectory, attempt: int, lost: tuple[int, ...]) -> bool:
    """Say whether a rank is gone since its script has failed: so will every other one's."""
    see_anew(files.heartbeats)
    heartbeats = [read_heartbeat(files, rank) for rank in lost]
    return any(beat.attempt == attempt and beat.failed_by_itself for beat in heartbeats if beat)

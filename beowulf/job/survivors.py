"""Who goes on after ranks were lost: one file per loss, made once and for all.

Those who miss others can't know whether these are dead or only out of reach, and thinking the
same of them. So whoever wants to go on must first say so in the job's directory, which is in
one place; who comes second, or is left out, is cut off and may write nothing any more.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from beowulf.durable import read_json, see_anew, write_once

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory


@dataclass(frozen=True)
class Survivors:
    """The ranks that go on after an attempt's ``number``-th loss, and those lost so far.

    ``step`` is how many steps had been done.
    """

    attempt: int
    number: int
    ranks: tuple[int, ...]
    lost: tuple[int, ...]
    step: int


def claim_survival(directory: JobDirectory, mine: Survivors) -> Survivors:
    """Say who goes on, unless somebody has said so; return what holds.

    Raises:
        OSError: The job directory is gone, or cannot be written.
        ValueError: What is there is damaged.
    """
    wanted = directory.survivors(mine.attempt, mine.number)
    write_once(wanted, json.dumps(asdict(mine)).encode() + b"\n")
    there = read_survivors(directory, mine.attempt, mine.number)
    if there is None:
        raise ValueError(f"{wanted} is damaged")
    return there


def read_survivors(directory: JobDirectory, attempt: int, number: int) -> Survivors | None:
    """Return who goes on after a loss, or None if nobody has said so."""
    value = read_json(directory.survivors(attempt, number))
    try:
        return Survivors(
            int(value["attempt"]),
            int(value["number"]),
            tuple(map(int, value["ranks"])),
            tuple(map(int, value["lost"])),
            int(value["step"]),
        )
    except (TypeError, KeyError, ValueError):
        return None


def newest_survivors(directory: JobDirectory, attempt: int) -> Survivors | None:
    """Return who goes on after the latest loss of an attempt, or None if there was none."""
    see_anew(directory.path)
    newest: Survivors | None = None
    number = 1
    while (found := read_survivors(directory, attempt, number)) is not None:
        newest, number = found, number + 1
    return newest


def may_write(directory: JobDirectory, attempt: int, losses: int) -> bool:
    """Say whether nobody goes on without those who know of so many losses of an attempt."""
    see_anew(directory.path)
    return not (
        directory.survivors(attempt, losses + 1).exists() or directory.claim(attempt + 1).exists()
    )

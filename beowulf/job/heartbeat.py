"""What each rank says of itself, in one small file per rank."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Literal

from beowulf.durable import read_json, write_json
from beowulf.errors import InvalidInput, RanksLost

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory

KILLED_BY = "killed by "  # begins the error of a rank that a signal ended
RankState = Literal["running", "finished", "failed"]
CANNOT_GO_ON = RanksLost.exit_status  # of a rank that is well, but left without others it needs


@dataclass(frozen=True)
class Heartbeat:
    """How one rank is: ``time`` is in seconds since the epoch, ``pid`` that of the script."""

    rank: int
    attempt: int
    state: RankState = "running"
    step: int = 0
    exit_code: int | None = None
    error: str = ""
    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)
    time: float = field(default_factory=time.time)

    @property
    def failed_by_itself(self) -> bool:
        """Say whether the rank's own script made it fail: nothing from outside did."""
        return (
            self.state == "failed"
            and self.exit_code != CANNOT_GO_ON
            and not self.error.startswith(KILLED_BY)
        )

    def write(self, directory: JobDirectory) -> None:
        """Replace this rank's file. Not flushed to the disk: it is old in a second."""
        write_json(directory.heartbeat(self.rank), asdict(self), sync=False)


def read_heartbeat(directory: JobDirectory, rank: int) -> Heartbeat | None:
    """Return what ``rank`` last said, or None if it has said nothing yet."""
    value = read_json(directory.heartbeat(rank))
    if not isinstance(value, dict) or set(value) != {f.name for f in fields(Heartbeat)}:
        return None
    return Heartbeat(**value)


def place_of(directory: JobDirectory, rank: int, attempt: int) -> Heartbeat:
    """Return the heartbeat of a rank that runs now, in this attempt of the job.

    Raises:
        InvalidInput: It does not run.
    """
    heartbeat = read_heartbeat(directory, rank)
    if heartbeat is None or heartbeat.attempt != attempt or heartbeat.state != "running":
        raise InvalidInput(
            "--rank",
            f"job {directory.job_id} has no rank {rank} that runs now",
            f"look at: beowulf status {directory.job_id}",
        )
    return heartbeat


def read_heartbeats(
    directory: JobDirectory, ranks: int, attempt: int | None = None
) -> list[Heartbeat]:
    """Return what the ranks that have spoken, in ``attempt`` if given, last said, in rank order."""
    found = (read_heartbeat(directory, rank) for rank in range(ranks))
    return [
        heartbeat
        for heartbeat in found
        if heartbeat is not None and attempt in (None, heartbeat.attempt)
    ]

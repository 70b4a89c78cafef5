"""What a run needs before its first step: its world, its shares, its length, its directory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import TrainingError, WorldSizeError
from beowulf.job.directory import JobDirectory
from beowulf.train.shares import EQUAL, check_weights, parse_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpi4py import MPI

    from beowulf.train.batches import Schedule


def check_world_size(started: int) -> None:
    """Raise WorldSizeError if MPI started another number of ranks than was promised."""
    promised = os.environ.get("BEOWULF_RANKS")
    if promised is not None and int(promised) != started:
        raise WorldSizeError(
            f"this job was promised {promised} ranks, but MPI started a world of {started}; "
            "each would train alone. Start ranks with: beowulf submit"
        )


def weights_of(shares: str | Sequence[float] | None, world_size: int) -> tuple[float, ...]:
    """Return one weight per rank to begin with; equal ones from None and ``"equal"``."""
    if shares is None or shares == EQUAL:
        return (1.0,) * world_size
    weights = parse_shares(shares) if isinstance(shares, str) else tuple(map(float, shares))
    check_weights(weights)
    if len(weights) != world_size:
        raise TrainingError(f"shares: {len(weights)} given for {world_size} ranks; give one each")
    return weights


def total_steps(schedule: Schedule, epochs: int | None, steps: int | None) -> int:
    """Return how many steps the run has, whichever limit comes first."""
    if schedule.samples < 1:
        raise TrainingError(f"samples: {schedule.samples} must be 1 or more")
    limits = [epochs * schedule.steps_per_epoch] if epochs is not None else []
    limits += [steps] if steps is not None else []
    if not limits or min(limits) < 0:
        raise TrainingError("batches: give epochs or steps, 0 or more")
    return min(limits)


def open_directory(comm: MPI.Intracomm) -> JobDirectory:
    """Return the job's directory; a script that was started by hand gets a fresh one."""
    mine = JobDirectory.of_this_rank()
    if mine is not None:
        return mine
    path = tempfile.mkdtemp(prefix="beowulf-") if comm.rank == 0 else None
    if path:
        print(f"beowulf: not a submitted job; writing to {path}", flush=True)
    return JobDirectory(Path(comm.bcast(path)))

"""The variables that a rank's script finds, for MPI scripts and for other frameworks."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import WorldSizeError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Placement:
    """Which rank this process is, as Open MPI's launcher tells it."""

    rank: int
    ranks: int
    local_rank: int
    attempt: int


def read_placement(environ: Mapping[str, str]) -> Placement:
    """Read this rank's place and hold the launcher to the number of ranks promised.

    Raises:
        WorldSizeError: The launcher started another number of ranks than the job
            asked for. (Plain ``srun`` without PMIx starts N worlds of one rank and
            exits 0: each would train alone and nobody would notice.)
    """
    promised = int(environ["BEOWULF_RANKS"])
    started = int(environ.get("OMPI_COMM_WORLD_SIZE", "1"))
    if started != promised:
        raise WorldSizeError(
            f"this job was promised {promised} ranks, but MPI started a world of {started}; "
            "nothing was trained. Start ranks with the job's batch.sh, not by hand"
        )
    return Placement(
        rank=int(environ.get("OMPI_COMM_WORLD_RANK", "0")),
        ranks=started,
        local_rank=int(environ.get("OMPI_COMM_WORLD_LOCAL_RANK", "0")),
        attempt=int(environ.get("BEOWULF_ATTEMPT", "1")),
    )


def framework_variables(placement: Placement, endpoints: list[str]) -> dict[str, str]:
    """Return what beowulf's and other frameworks' scripts look for in their environment.

    ``endpoints`` holds one ``host:port`` per rank, free for the script to listen on;
    the first is the meeting point. For torch.distributed: MASTER_ADDR, MASTER_PORT,
    RANK, LOCAL_RANK, WORLD_SIZE (the ``env://`` initialisation). For TensorFlow's
    MultiWorkerMirroredStrategy: TF_CONFIG. For JAX: JAX_COORDINATOR_ADDRESS,
    JAX_NUM_PROCESSES, JAX_PROCESS_ID.
    """
    address, _, port = endpoints[0].rpartition(":")
    cluster = {
        "cluster": {"worker": endpoints},
        "task": {"type": "worker", "index": placement.rank},
    }
    return {
        "BEOWULF_RANK": str(placement.rank),
        "BEOWULF_RANKS": str(placement.ranks),
        "BEOWULF_ATTEMPT": str(placement.attempt),
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "RANK": str(placement.rank),
        "LOCAL_RANK": str(placement.local_rank),
        "WORLD_SIZE": str(placement.ranks),
        "TF_CONFIG": json.dumps(cluster),
        "JAX_COORDINATOR_ADDRESS": endpoints[0],
        "JAX_NUM_PROCESSES": str(placement.ranks),
        "JAX_PROCESS_ID": str(placement.rank),
    }


def usable_cores() -> int:
    """Return how many cores of this computer this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def thread_variables(environ: Mapping[str, str], usable: int) -> dict[str, str]:
    """Return how many threads this rank may start, for those libraries that are left to it.

    The batch script names their variables in BEOWULF_THREAD_VARIABLES where it can't
    know the numbers: of unequal nodes each gives another number of cores. ``usable`` is how
    many cores the kernel lets this process use; Slurm may have given fewer of them.
    """
    names = environ.get("BEOWULF_THREAD_VARIABLES", "").split()
    if not names:
        return {}
    given = environ.get("SLURM_CPUS_ON_NODE", "")
    cores = min(usable, int(given)) if given.isdecimal() else usable
    sharers = environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "")
    each = max(1, cores // max(1, int(sharers) if sharers.isdecimal() else 1))
    return dict.fromkeys(names, str(each))

"""What Open MPI is told to do otherwise than by itself, and why: one setting, one reason.

Chosen by measuring (``bench/allreduce.py``; docs/benchmarks.md has the figures). Which network
interface to use is the cluster's business, not a job's: the role ``mpi`` writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE


@dataclass(frozen=True)
class Setting:
    """One of Open MPI's parameters, given to the launcher as ``--mca name value``."""

    name: str
    value: str
    reason: str


YIELD = Setting("mpi_yield_when_idle", "1", "a rank that waits lets others compute")

BY_RULES = Setting("coll_tuned_use_dynamic_rules", "1", "go by rules that are given here")
# Open MPI's allgatherv of little data is a gather and a broadcast whose failure it does not tell
# (coll_base_allgatherv.c, "basic_default", up to 5.0.11): where a rank is lost in the middle, the
# others would take what is not there for its words.
ALLGATHERV = Setting("coll_tuned_allgatherv_algorithm", "2", "Bruck's, which tells of lost ranks")

LOCAL = (
    Setting("pml", "ob1", "ranks talk through memory"),
    Setting("btl", "self,sm", "and open no port"),
    Setting("osc", "sm", "shared-memory windows; the others need hardware"),
    BY_RULES,
    ALLGATHERV,
    YIELD,
)

# With ``--with-ft ulfm``. The period must be less than a third of the time-out. Without a thread of
# its own the detector works only inside MPI's calls, and takes a rank that computes for dead; with
# it, MPI_Finalize never returns, so that it is for ranks which can end without (beowulf.rank).
SURVIVAL = (
    Setting("mpi_ft_detector", "true", "notice ranks that are frozen or out of reach"),
    Setting("mpi_ft_detector_thread", "true", "and ask while they compute"),
    Setting("mpi_ft_detector_period", "1", "every second"),
    Setting("mpi_ft_detector_timeout", "4", "and give them up after four of silence"),
    Setting("mpi_ft_propagator_with_rbcast", "true", "ranks tell each other; launchers do not"),
)

CLUSTER = (
    Setting("pml", "ob1", "the next lines are about ob1 over TCP"),
    Setting("btl", "self,sm,tcp", "memory within a node, TCP between nodes"),
    Setting(
        "btl_tcp_flags",
        "send,inplace",
        "push long messages; asking for each piece waits behind what is on its way",
    ),
    Setting(
        "btl_tcp_eager_limit",
        str(MEGABYTE),
        "send pieces of a bucket unasked, for the same reason",
    ),
    Setting("btl_tcp_max_send_size", str(MEGABYTE), "not less than that, or it does not hold"),
    Setting("btl_tcp_free_list_inc", "8", "few buffers of that size in advance"),
    Setting("coll", "^han", "it adds up between nodes by other rules than these"),
    BY_RULES,
    ALLGATHERV,
    YIELD,
)

# Open MPI's own numbers for them.
ALLREDUCE = 2
RECURSIVE_DOUBLING = 3
RING = 4
# A ring takes 2(n-1) trips and carries 2(n-1)/n of the data, recursive doubling log2(n) of each.
# They are equally fast where latency times bandwidth, 1 to 7 kB from 100 Mbit/s to 1 Gbit/s, times
# 8 (4 ranks) to 50 (128 ranks) of it are to be added up; this is about the middle.
RING_FROM_BYTES_PER_RANK = 2 * KILOBYTE
RING_FROM_BYTES = 16 * KILOBYTE
WORLDS = (2, 16, 32, 64, 128)


def can_survive(command: Sequence[str]) -> bool:
    """Say whether a command's ranks can end without MPI_Finalize: they are a Python script's.

    ``beowulf.rank`` runs such a script itself. Any other program ends as it likes.
    """
    return (
        len(command) > 1 and command[0] in ("python", "python3") and not command[1].startswith("-")
    )


def settings_for(command: Sequence[str], place: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """Return the settings of a place, and those with which a command's ranks survive others."""
    return (*place, *SURVIVAL) if can_survive(command) else place


def ring_from_bytes(ranks: int) -> int:
    """Return from which size on a ring adds up faster than recursive doubling does."""
    return max(RING_FROM_BYTES, RING_FROM_BYTES_PER_RANK * ranks)


def allreduce_rules() -> str:
    """Return the file that tells Open MPI's ``coll/tuned`` how to add up, for worlds of any size.

    By itself it takes recursive doubling for large messages too, where ranks are no power
    of two. The format is that of ``coll_tuned_dynamic_rules_filename``: for each least number
    of ranks, for each least number of bytes, an algorithm, no tree, and no segments.
    """
    lines = [
        f"1 {ALLREDUCE} {len(WORLDS)}  # for one operation, all-reduce, so many sizes of worlds",
        "# ranks or more, 2 rules: bytes or more, algorithm, no tree, no segments",
    ]
    for ranks in WORLDS:
        few = f"0 {RECURSIVE_DOUBLING} 0 0"
        many = f"{ring_from_bytes(ranks)} {RING} 0 0"
        lines.append(f"{ranks} 2  {few}  {many}")
    lines.append(f"# {RECURSIVE_DOUBLING} is recursive doubling, with the fewest trips;")
    lines.append(f"# {RING} is a ring, with the least data")
    return "\n".join(lines)

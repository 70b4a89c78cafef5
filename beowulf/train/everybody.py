"""Everybody who is left of a run, and how they find together after a loss.

What MPI offers for that is User-Level Failure Mitigation: Bland, Bouteiller, Herault, Bosilca and
Dongarra, "Post-failure recovery of MPI communication capability", 2013, International Journal of
High Performance Computing Applications 27(3). Open MPI has it where it is started with
``--with-ft ulfm``.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from mpi4py import MPI

from beowulf.job.wall import shut_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# The last is what waiting for several messages says where one of them will never come.
LOSSES = (
    MPI.ERR_PROC_FAILED,
    MPI.ERR_PROC_FAILED_PENDING,
    MPI.ERR_REVOKED,
    MPI.ERR_IN_STATUS,
)
ENABLED = "OMPI_MCA_mpi_ft_enable"  # set by Open MPI's launcher in each rank


def can_survive(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether MPI tells of lost ranks here, rather than end all others too."""
    return environ.get(ENABLED, "").lower() in ("1", "true")


def tells_of_loss(error: BaseException) -> bool:
    """Say whether an error is MPI's way to say that a rank is gone, or that another said so."""
    return isinstance(error, MPI.Exception) and error.Get_error_class() in LOSSES


class Everybody:
    """The ranks that are left. Each keeps the number that it had at the start.

    Attributes:
        comm: Those who are left, in the order of their numbers.
        rank: This rank's number.
        size: How many there were at the start.
        ranks: The numbers of those who are left.
        hosts: Every rank's host, those of lost ones too.
        losses: How many times some were lost.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        """Note who is there. Collective: a missing rank leaves the others waiting."""
        self.comm = comm
        self.rank, self.size = comm.rank, comm.size
        self.ranks = tuple(range(comm.size))
        self.hosts: tuple[str, ...] = tuple(comm.allgather(platform.node()))
        self.losses = 0
        self._all = comm.Get_group()

    @property
    def first(self) -> int:
        """The lowest number among those who are left."""
        return self.ranks[0]

    @property
    def lost(self) -> tuple[int, ...]:
        """The numbers of those who were lost."""
        return tuple(rank for rank in range(self.size) if rank not in self.ranks)

    def hosts_of(self, ranks: Iterable[int]) -> list[str]:
        """Return the hosts of ranks, each once."""
        return list(dict.fromkeys(self.hosts[rank] for rank in ranks))

    def named(self, ranks: Sequence[int]) -> str:
        """Return ranks and their hosts in words: ``ranks 2, 3 on node2, node3``."""
        plural = "s" if len(ranks) > 1 else ""
        return f"rank{plural} {', '.join(map(str, ranks))} on {', '.join(self.hosts_of(ranks))}"

    def place_of(self, rank: int) -> int:
        """Return the place of a rank in ``comm``."""
        return self.ranks.index(rank)

    def regroup(self) -> None:
        """Leave those out who are gone. Collective over those who are left.

        Whoever waits for anybody on the communicators of before gets an error, and comes here.
        """
        self.comm.Revoke()
        smaller = self.comm.Shrink()
        assert isinstance(smaller, MPI.Intracomm)  # noqa: S101 - what shrinking one gives
        self.comm = smaller
        self.ranks = tuple(smaller.Get_group().Translate_ranks(None, self._all))
        shut_out({self.hosts[rank] for rank in self.lost} - {self.hosts[r] for r in self.ranks})

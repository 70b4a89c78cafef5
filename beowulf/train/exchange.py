"""Add up a bucket over all ranks: the plain way, and what every other way must look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from mpi4py import MPI

if TYPE_CHECKING:
    from beowulf.train.buckets import Bucket


class Exchange(Protocol):
    """A way to add up buckets; one fresh instance per run, which may keep a state per bucket.

    It is called by one thread at a time, with the buckets in the order of their index,
    with the same calls on every rank. On one rank it is not called at all.
    """

    is_exact: ClassVar[bool]
    """Whether each number of ``flat`` is truly added up, so that others than gradients may
    travel in it: numbers behind the last bucket's places that must arrive as they are."""

    def begin(self, samples: int) -> None:
        """Note for how many samples, over all ranks, the sums of the next step are."""

    def __call__(self, comm: MPI.Comm, bucket: Bucket) -> None:
        """Replace ``bucket.flat``, in place, by its sum over all ranks.

        Every rank ends with the same bits. Nothing is divided here. Collective: a missing
        rank leaves the others waiting.
        """


class Plain:
    """Add up every number as it is, by MPI's own all-reduce."""

    is_exact: ClassVar[bool] = True

    def begin(self, samples: int) -> None:
        """Do nothing: sums don't depend on the number of samples."""

    def __call__(self, comm: MPI.Comm, bucket: Bucket) -> None:
        """Replace ``bucket.flat`` by its sum over all ranks. Collective."""
        comm.Allreduce(MPI.IN_PLACE, bucket.flat)

"""Ways to average, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.errors import TrainingError
from beowulf.train.averaging import Naive
from beowulf.train.dense import Dense
from beowulf.train.exchange import Plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI

    from beowulf.train.averaging import Averaging
    from beowulf.train.exchange import Exchange

EXCHANGES: dict[str, Callable[[], Exchange]] = {"dense": Plain}  # what travels in buckets
STRATEGIES = ("naive", *EXCHANGES)


def averaging_named(
    name: str,
    comm: MPI.Intracomm,
    *,
    overlap: bool | None = None,
    say: Callable[[str], None] = print,
) -> Averaging:
    """Return a fresh averaging for one run. Collective: a missing rank leaves the others waiting.

    Raises:
        TrainingError: There is none of this name.
    """
    if name == "naive":
        return Naive(comm)
    if name not in EXCHANGES:
        raise TrainingError(f"averaging: no strategy {name!r}; choose from {', '.join(STRATEGIES)}")
    return Dense(comm, EXCHANGES[name](), overlap=overlap, say=say)

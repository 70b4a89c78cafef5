"""Ranks that rest, and how they hear what became of the run.

A rank that rests waits for one message, and sleeps meanwhile: MPI's own waiting keeps a core
busy, which on an old computer somebody else may need.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

from beowulf.train.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from beowulf.train.planner import Planned

NEWS = 11  # a tag
SHORTEST_S, LONGEST_S = 0.002, 0.05


@dataclass(frozen=True)
class News:
    """What became of the run; ``lead`` is who sends the state after this.

    ``planned`` is what all planners must agree on from now on, ``so_far`` what the leading
    rank has counted, and ``reported`` what it reported.
    """

    is_over: bool
    lead: int
    planned: Planned | None = None
    so_far: Tally = field(default_factory=Tally)
    reported: dict[str, Any] = field(default_factory=dict)


def wake(comm: MPI.Intracomm, resting: Sequence[int], news: News) -> None:
    """Send the news to those who rest. Called by the leading rank alone."""
    for rank in resting:
        comm.send(news, rank, NEWS)


def wait_for_news(comm: MPI.Intracomm, look_after: Callable[[float], None]) -> News:
    """Wait for the news, calling ``look_after`` with the time now and then. Not collective."""
    pause_s = SHORTEST_S
    while not comm.Iprobe(MPI.ANY_SOURCE, NEWS):
        look_after(time.monotonic())
        time.sleep(pause_s)
        pause_s = min(LONGEST_S, pause_s * 1.5)
    news: News = comm.recv(source=MPI.ANY_SOURCE, tag=NEWS)
    return news

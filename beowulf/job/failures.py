"""How often a job is disturbed, as its story tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from beowulf.job.events import time_of

if TYPE_CHECKING:
    from collections.abc import Iterable

# What is assumed of a cluster before anything has happened: one failure a day.
ASSUMED_S = 86_400.0
FAILURES = frozenset({"lost", "restarting"})


@dataclass(frozen=True)
class Disturbances:
    """How many failures there were, and in how long a time of training."""

    failures: int = 0
    trained_s: float = 0.0

    @property
    def between_s(self) -> float:
        """How long it takes from one failure to the next, on average."""
        return (ASSUMED_S + self.trained_s) / (1 + self.failures)


def disturbances(events: Iterable[dict[str, Any]], now: datetime) -> Disturbances:
    """Count the failures in a job's story, and the time that it was under way until now.

    An attempt whose end nobody wrote down ended by a failure: the power, most likely. What
    somebody caused on purpose does not count.
    """
    failures = drills = 0
    trained = timedelta()
    since = last = None
    for event in events:
        time, name = time_of(event), event.get("event")
        if time is None:
            continue
        moment = datetime.fromisoformat(time)
        drills += name == "drill"
        if name in FAILURES and drills:
            drills -= 1
        elif name in FAILURES:
            failures += 1
        if name == "started" and since is None:
            since = moment
        elif name == "ended" and since is not None:
            trained, since = trained + (moment - since), None
        elif name == "resubmitted" and since is not None:
            failures += 1
            trained, since = trained + ((last or since) - since), None
        last = moment
    if since is not None:
        trained += now - since
    return Disturbances(failures, max(0.0, trained.total_seconds()))

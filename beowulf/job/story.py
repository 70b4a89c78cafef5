"""A job's story in plain words, and how far it has come by it, from its events alone.

Events may have been written by another version, or be damaged: what is not understood is told
as it is, or passed over, and never trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from beowulf.errors import one_line
from beowulf.job.directory import CHECKPOINT_NAME
from beowulf.job.events import time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Event = dict[str, Any]
Stage = Literal["QUEUED", "STARTING", "RUNNING", "RECOVERING", "UNKNOWN"]
STAGE_BY_EVENT: dict[str, Stage] = {
    "submitted": "QUEUED",
    "resubmitted": "QUEUED",
    "started": "STARTING",
    "running": "RUNNING",
    "resumed": "RUNNING",
    "lost": "RECOVERING",
    "carried_on": "RUNNING",
    "restarting": "RECOVERING",
    "growing": "RECOVERING",
}
# What happens to every job, and is no news.
USUAL = frozenset({"submitted", "started", "running", "planned", "ended"})
MOST_TOLD = 500
MOST_NAMED = 8
MOST_CHARACTERS = 300
DRILLS = {
    "kill": "drill: killed {rank}",
    "freeze": "drill: froze {rank}",
    "cut": "drill: cut {host} off",
}


@dataclass(frozen=True)
class Told:
    """One thing that happened to a job: when, ISO 8601 in UTC, and what, in plain words.

    ``usual`` says that it happens to every job.
    """

    time: str | None
    said: str
    usual: bool = False


def tell(events: Sequence[Event]) -> tuple[Told, ...]:
    """Return a job's story in the order of time, the newest things only where it is very long."""
    started: Event = {}
    told = []
    for event in events:
        if event.get("event") == "started":
            started = event
        said = one_line(_sentence(event, started))[:MOST_CHARACTERS]
        told.append(Told(time_of(event), said, event.get("event") in USUAL))
    in_order = sorted(enumerate(told), key=lambda pair: (pair[1].time or "", pair[0]))
    if any(one.time is None for one in told):  # a damaged time tells no order
        return tuple(told[-MOST_TOLD:])
    return tuple(one for _, one in in_order[-MOST_TOLD:])


def stage_of(events: Sequence[Event]) -> Stage:
    """Return how far a job is that somebody looks after.

    A job that is started again after a loss recovers until all its ranks are there.
    """
    stages = [
        (str(event["event"]), STAGE_BY_EVENT[str(event["event"])])
        for event in events
        if str(event.get("event")) in STAGE_BY_EVENT
    ]
    if not stages:
        return "UNKNOWN"
    name, stage = stages[-1]
    if name == "started" and len(stages) > 1 and stages[-2][0] == "restarting":
        return "RECOVERING"
    return stage


def why_recovering(events: Sequence[Event]) -> str:
    """Say in one line what a job is recovering from."""
    started: Event = {}
    said = ""
    for event in events:
        if event.get("event") == "started":
            started = event
        elif event.get("event") in ("lost", "restarting"):
            said = _sentence(event, started)
    return one_line(said)[:MOST_CHARACTERS]


def _sentence(event: Event, started: Event) -> str:
    """Say what happened; ``started`` is the event of the attempt's start, {} before one."""
    name = str(event.get("event"))
    if name == "lost":
        return _lost(event, started)
    teller = TELLERS.get(name)
    return teller(event) if teller else name.replace("_", " ")


def _lost(event: Event, started: Event) -> str:
    """Name the nodes where each has one rank, else the ranks, where a cluster tells their nodes."""
    ranks, hosts = _ranks(event), _names(event.get("hosts"))
    given = _names(started.get("hosts"))
    which = _counted("rank", ranks)
    if not hosts or not given:
        return f"{which or 'a rank'} stopped answering"
    if len(given) == _whole(started.get("ranks")):
        return f"{_listed(hosts)} stopped answering{f' ({which})' if which else ''}"
    return f"{which or 'a rank'} on {_listed(hosts)} stopped answering"


def _carried_on(event: Event) -> str:
    ranks, hosts = _ranks(event), _names(event.get("hosts"))
    count = f" with {len(ranks)} rank{'s' * (len(ranks) != 1)}" if ranks else ""
    where = f" on {_listed(hosts)}" if hosts and count else ""
    parts = [f"carried on{count}{where}"]
    if (step := _whole(event.get("step"))) is not None:
        parts.append(f"step {step} redone")
    lost_s = event.get("lost_s")
    if isinstance(lost_s, int | float) and not isinstance(lost_s, bool):
        parts.append(f"lost {lost_s:.1f} s")
    return "; ".join(parts)


def _restarting(event: Event) -> str:
    left_out = _names(event.get("left_out"))
    without = f" without {_listed(left_out)}" if left_out else ""
    step, why = _whole(event.get("step")), str(event.get("why") or "")
    whence = f"from the checkpoint after step {step}" if step is not None else "from the beginning"
    return f"started again{without}, {whence}{_attempt(event)}{f': {why}' if why else ''}"


def _started(event: Event) -> str:
    ranks, hosts = _whole(event.get("ranks")), _names(event.get("hosts"))
    count = f"{ranks} rank{'s' * (ranks != 1)}" if ranks else "its ranks"
    return f"started {count}{f' on {_listed(hosts)}' if hosts else ''}{_attempt(event)}"


def _drill(event: Event) -> str:
    host, rank = str(event.get("host") or "a node"), _whole(event.get("rank"))
    words = DRILLS.get(str(event.get("what")), "drill on {rank}")
    at = f", at step {step}" if (step := _whole(event.get("step"))) is not None else ""
    return words.format(rank=f"rank {rank} on {host}", host=host) + at


def _submitted(event: Event) -> str:
    again = " again" if event.get("event") == "resubmitted" else ""
    left_out = event.get("left_out")
    nodes = _names([one.get("node") for one in left_out if isinstance(one, dict)]
                   if isinstance(left_out, list) else None)  # fmt: skip
    lately = f", without {_listed(nodes)}, which lost jobs lately" if nodes else ""
    return f"submitted{again}{_attempt(event)}{lately}"


def _planned(event: Event) -> str:
    said = event.get("said")
    words = said[0] if isinstance(said, list) and said else event.get("strategy")
    return f"planned: {words}" if words else "planned"


def _rejected(event: Event) -> str:
    name = str(event.get("checkpoint"))
    match = CHECKPOINT_NAME.fullmatch(name)
    which = f"the checkpoint after step {int(match[1])}" if match else f"checkpoint {name}"
    return f"{which} cannot be used: {event.get('why') or 'it is damaged'}"


def _not_saved(event: Event) -> str:
    step = _whole(event.get("step"))
    which = f" after step {step}" if step is not None else ""
    return f"no checkpoint{which} could be written: {event.get('why') or 'why is not known'}"


def _ended(event: Event) -> str:
    reason = str(event.get("reason") or "")
    return f"ended {event.get('state')}{f': {reason}' if reason else ''}"


TELLERS: Mapping[str, Callable[[Event], str]] = {
    "submitted": _submitted,
    "resubmitted": _submitted,
    "started": _started,
    "running": lambda _: "all ranks are up",
    "resumed": lambda event: f"went on after step {_whole(event.get('step'))}",
    "checkpoint_rejected": _rejected,
    "checkpoint_failed": _not_saved,
    "planned": _planned,
    "carried_on": _carried_on,
    "restarting": _restarting,
    "growing": lambda event: f"starts again with more ranks: {event.get('why')}",
    "drill": _drill,
    "ended": _ended,
}


def _attempt(event: Event) -> str:
    attempt = _whole(event.get("attempt"))
    return f" (attempt {attempt})" if attempt and attempt > 1 else ""


def _ranks(event: Event) -> list[int]:
    found = event.get("ranks")
    return [rank for rank in found if _whole(rank) is not None] if isinstance(found, list) else []


def _names(value: object) -> list[str]:
    """Return the names in a list, each once."""
    return list(dict.fromkeys(map(str, value))) if isinstance(value, list) else []


def _counted(word: str, numbers: Iterable[int]) -> str:
    listed = list(map(str, numbers))
    return f"{word}{'s' * (len(listed) != 1)} {_listed(listed)}" if listed else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

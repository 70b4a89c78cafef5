"""Who was lost and who served, and when: from jobs' stories, and from Slurm's accounts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from beowulf.job.events import read_events, time_of
from beowulf.job.trust import FORGOTTEN_S, HOUR_S, NODE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from beowulf.job.directory import JobDirectory

Event = dict[str, Any]
# A drill's plug is pulled on purpose: what is noticed of it within this time is no loss.
DRILL_S = 180.0
ENDS = frozenset({"ended", "restarting", "started", "submitted", "resubmitted"})
DAYS = round(FORGOTTEN_S / (24 * HOUR_S))
# Slurm's accounts hold when nodes were away, for everybody to read unless a site forbids it.
QUESTION = (
    "sacctmgr", "--noheader", "--parsable2", "--readonly", "show", "event", "event=node",
    f"start=now-{DAYS}days", "format=NodeName,Start,End,State,Reason",
)  # fmt: skip
BY_ITSELF = re.compile(r"not responding|unexpectedly rebooted|duplicate slurmd|node failure", re.I)
# A machine that is away for longer was switched off, which is nobody's fault.
SWITCHED_OFF_S = 2 * HOUR_S


def said_lost(directory: JobDirectory, attempt: int) -> set[int]:
    """Return the ranks of which others have said, in this attempt, that they don't answer."""
    told: set[int] = set()
    for event in read_events(directory):
        if event.get("event") == "lost" and event.get("attempt") == attempt:
            ranks = event.get("ranks")
            if isinstance(ranks, list):
                told.update(rank for rank in ranks if isinstance(rank, int))
    return told


def lost_in(events: Sequence[Event]) -> list[tuple[str, float]]:
    """Return which nodes a job lost, and when; not those whose plug was pulled on purpose."""
    on_purpose: list[tuple[str, float]] = []
    left_out: set[str] = set()
    found: list[tuple[str, float]] = []
    for event in _with_times(events):
        name, moment = event["event"], event["moment"]
        if name == "drill":
            on_purpose.append((str(event.get("host")), moment))
        elif name == "lost":
            found += [(host, moment) for host in _hosts(event.get("hosts"))]
        elif name == "restarting":  # each attempt names anew who is still left out
            named = set(_hosts(event.get("left_out")))
            found += [(host, moment) for host in sorted(named - left_out)]
            left_out |= named
    return [
        (host, moment)
        for host, moment in found
        if not any(host == other and 0 <= moment - at < DRILL_S for other, at in on_purpose)
    ]


def served_in(events: Sequence[Event], seen_at: float) -> Iterator[tuple[str, float, float]]:
    """Yield which nodes worked for a job, from and until.

    ``seen_at`` is when the job last gave a sign of life.
    """
    since: dict[str, float] = {}
    latest = seen_at
    for event in _with_times(events):
        name, moment = event["event"], event["moment"]
        latest = max(latest, moment)
        gone = list(since) if name in ENDS else _hosts(event.get("hosts")) if name == "lost" else []
        for host in gone:
            if host in since:
                yield host, since.pop(host), moment
        if name == "started":
            since = {host: moment for host in _hosts(event.get("hosts"))}  # noqa: C420
    for host, begin in since.items():
        yield host, begin, latest


def outages(told: str, now: float, zone: tzinfo | None = None) -> list[tuple[str, float]]:
    """Return which nodes Slurm lost by itself, and when, from what ``sacctmgr`` printed.

    What a person or a health check took out of work is none, nor what was away for hours: that
    was switched off. Times are those of ``zone``; None means this computer's own.
    """
    found = []
    for line in told.splitlines():
        fields = line.split("|", 4)
        if len(fields) != 5 or not NODE_NAME.fullmatch(fields[0]):
            continue
        node, start, end, state, reason = fields
        begin = _seconds(start, zone)
        if begin is None or "DOWN" not in state.upper() or not BY_ITSELF.search(reason):
            continue
        if (_seconds(end, zone) or now) - begin <= SWITCHED_OFF_S:
            found.append((node, begin))
    return found


def _with_times(events: Sequence[Event]) -> Iterator[Event]:
    for event in events:
        time = time_of(event)
        if time is not None and isinstance(event.get("event"), str):
            yield {**event, "moment": datetime.fromisoformat(time).timestamp()}


def _hosts(value: object) -> list[str]:
    if not isinstance(value, list):
        return []
    return list(dict.fromkeys(host for host in map(str, value) if NODE_NAME.fullmatch(host)))


def _seconds(text: str, zone: tzinfo | None) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment.replace(tzinfo=zone) if zone else moment).astimezone(UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        return None

"""How far a node can be trusted, from when it was lost and how long it has served.

Everything here is a sum over given times, in seconds since 1970: the same history gives
the same answer, whoever asks and whenever.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
HALF_LIFE_S = 7 * DAY_S  # after so long a loss, and an hour of service, counts half
FORGOTTEN_S = 4 * HALF_LIFE_S
# What a node is taken to have served without a loss before anything is known of it: one loss
# alone does not condemn it.
CREDIT_S = 7 * DAY_S
SAME_S = 300.0  # a job notices within seconds, Slurm within minutes: that is one loss
WINDOW_S = DAY_S
LIMIT = 3  # losses within the window
FIRST_COOLDOWN_S = HOUR_S
MOST_COOLDOWN_S = DAY_S
CALM_S = 7 * DAY_S  # after so long without a cooldown the next one is short again
NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")


@dataclass(frozen=True)
class NodeHistory:
    """What is known of one node.

    ``losses`` are the times at which it was lost, ``served`` when it worked for jobs, from and
    until, ``trusted_at`` when a person said that what was before counts no more.
    """

    losses: tuple[float, ...] = ()
    served: tuple[tuple[float, float], ...] = ()
    trusted_at: float | None = None

    def losses_that_count(self, now: float) -> list[float]:
        """Return the node's losses, oldest first, each once however many noticed it."""
        since = max(now - FORGOTTEN_S, self.trusted_at or -math.inf)
        counted: list[float] = []
        for moment in sorted(self.losses):
            if since < moment <= now and (not counted or moment - counted[-1] > SAME_S):
                counted.append(moment)
        return counted


@dataclass(frozen=True)
class Trust:
    """How far a node can be trusted. Times are ISO 8601 in UTC.

    ``per_cent`` is the chance that it lasts a day's work, ``left_out_until`` set while new jobs
    are kept away from it.
    """

    node: str
    per_cent: int = 100
    losses: int = 0
    why: str = ""
    last_lost_at: str | None = None
    left_out_until: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as it travels and is listed."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trust:
        """Return what ``to_json`` wrote.

        Raises:
            TypeError: Something is missing, or too much.
        """
        return cls(**value)


def read_trusts(value: object) -> tuple[Trust, ...]:
    """Return the nodes that are left out in a list as it travels; what is none is passed over."""
    found = []
    for one in value if isinstance(value, list) else ():
        try:
            trust = Trust.from_json(one)
            datetime.fromisoformat(trust.left_out_until or "")
        except (TypeError, ValueError):
            continue
        if NODE_NAME.fullmatch(str(trust.node)):
            found.append(trust)
    return tuple(found)


def trust_in(node: str, history: NodeHistory, now: float) -> Trust:
    """Return how far a node can be trusted, and why not further."""
    losses = history.losses_that_count(now)
    until = left_out_until(losses)
    return Trust(
        node=node,
        per_cent=math.floor(100 * chance_of_a_day(losses, history.served, now) + 0.5),
        losses=len(losses),
        why=_why(losses, now),
        last_lost_at=_iso(losses[-1]) if losses else None,
        left_out_until=_iso(until) if until > now else None,
    )


def chance_of_a_day(
    losses: Sequence[float], served: Iterable[tuple[float, float]], now: float
) -> float:
    """Return how probable it is that a node works for a day without being lost.

    Losses come as often as they came by the hour of service; the older either is, the less
    it counts.
    """
    weight = sum(_fading(now - moment) for moment in losses)
    worked_s = sum(_fading_time(begin, end, now) for begin, end in merged(served))
    return math.exp(-DAY_S * weight / (CREDIT_S + worked_s))


def left_out_until(losses: Sequence[float]) -> float:
    """Return until when a node is left out for its losses, oldest first; 0 if it never was.

    Each loss that is the third within a day, or a later one, keeps it away: for an hour the
    first time, twice as long each time after, a day at most. A calm week makes it an hour again.
    """
    until, cooldown_s = 0.0, 0.0
    for index, moment in enumerate(losses):
        recent = sum(moment - WINDOW_S < earlier for earlier in losses[: index + 1])
        if recent < LIMIT:
            continue
        is_calm = moment > until + CALM_S
        doubled_s = min(2 * cooldown_s, MOST_COOLDOWN_S)
        cooldown_s = FIRST_COOLDOWN_S if is_calm else max(FIRST_COOLDOWN_S, doubled_s)
        until = moment + cooldown_s
    return until


def merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the same times without overlaps: two jobs on a node are no more service than one."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif end > begin:
            found.append((begin, end))
    return found


def _fading(age_s: float) -> float:
    return math.exp2(-max(0.0, age_s) / HALF_LIFE_S)


def _fading_time(begin: float, end: float, now: float) -> float:
    """Return the length of a time whose hours count less the longer ago they are."""
    end = min(end, now)
    if end <= begin:
        return 0.0
    return HALF_LIFE_S / math.log(2) * (_fading(now - end) - _fading(now - begin))


def _why(losses: Sequence[float], now: float) -> str:
    for span_s, words in ((DAY_S, "24 hours"), (7 * DAY_S, "7 days"), (FORGOTTEN_S, "28 days")):
        count = sum(moment > now - span_s for moment in losses)
        if count == len(losses) and count:
            return f"lost {_times(count)} in {words}"
    return ""


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")

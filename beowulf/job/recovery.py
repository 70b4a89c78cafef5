"""How a job recovers from a plug that was pulled, measured by its own story."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from beowulf.job.events import read_events, time_of
from beowulf.job.record import read_newest_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from beowulf.job.directory import JobDirectory
    from beowulf.job.record import JobRecord

Event = dict[str, Any]
POLL_S = 0.1
RECORD_EVERY_S = 2.0
SPEED_STEPS = 8  # so many steps after the recovery tell how fast it goes on
SPEED_WAIT_S = 20.0
TIMEOUT_S = 600.0  # Slurm keeps a job that is put back into its queue for two minutes


@dataclass(frozen=True)
class Recovery:
    """How a job recovers, in seconds since the plug was pulled; None is not, or not yet.

    ``steps`` counts the newest steps since then, which took place at ``steps_per_s``. ``state`` is
    the job's, once it is over.
    """

    noticed_s: float | None = None
    carried_on_s: float | None = None
    ranks: int | None = None
    step: int | None = None
    lost_s: float | None = None
    restarting_s: float | None = None
    restarted_s: float | None = None
    from_step: int | None = None
    attempt: int | None = None
    steps: int = 0
    steps_per_s: float | None = None
    state: str | None = None
    reason: str = ""

    @property
    def is_back(self) -> bool:
        """Say whether the job trains again."""
        return self.carried_on_s is not None or self.restarted_s is not None

    def to_json(self) -> dict[str, Any]:
        """Return it as it travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recovery:
        """Return what ``to_json`` wrote.

        Raises:
            TypeError: Something is missing, or too much.
        """
        return cls(**value)


def recovery_in(events: Sequence[Event], pulled_at: float) -> Recovery:
    """Return how a job recovers from what was pulled at a time, from its story since then."""
    found = Recovery()
    for event in events:
        said_at = time_of(event)
        if said_at is None or found.is_back:
            continue
        # The clocks of two computers differ a little.
        after_s = max(0.0, round(datetime.fromisoformat(said_at).timestamp() - pulled_at, 3))
        found = _with(found, event, after_s)
    return found


def _with(found: Recovery, event: Event, after_s: float) -> Recovery:
    """Return a recovery with one thing more that happened."""
    name = event.get("event")
    noticed_s = after_s if found.noticed_s is None else found.noticed_s
    if name == "lost":
        return replace(found, noticed_s=noticed_s)
    if name == "carried_on":
        ranks = event.get("ranks")
        return replace(
            found,
            carried_on_s=after_s,
            ranks=len(ranks) if isinstance(ranks, list) else None,
            step=_number(event.get("step")),
            lost_s=_number(event.get("lost_s")),
        )
    if name == "restarting":
        return replace(
            found,
            noticed_s=noticed_s,
            restarting_s=after_s,
            from_step=_number(event.get("step")),
            attempt=_number(event.get("attempt")),
        )
    if name == "running" and found.restarting_s is not None:
        return replace(found, restarted_s=after_s)
    return found


@dataclass
class Watch:
    """Look how a job recovers: from when its story had ``seen`` events on."""

    directory: JobDirectory
    seen: int
    pulled_at: float
    read_record: Callable[[], JobRecord]

    def __post_init__(self) -> None:
        self._metrics = _inode(self.directory)
        self._record: JobRecord | None = None
        self._record_at = float("-inf")

    def look(self) -> Recovery:
        """Return how it recovers now."""
        now = time.monotonic()
        if now > self._record_at + RECORD_EVERY_S:
            self._record, self._record_at = self.read_record(), now
        found = recovery_in(read_events(self.directory)[self.seen :], self.pulled_at)
        if self._record is not None and self._record.is_over:
            found = replace(found, state=self._record.state, reason=self._record.reason)
        if found.is_back:
            lines = self.lines_since(found)
            found = replace(found, steps_per_s=speed_of(lines), steps=len(lines))
        return found

    def lines_since(self, found: Recovery) -> list[dict[str, Any]]:
        """Return the newest steps that were done since the job trains again."""
        if found.carried_on_s is None and _inode(self.directory) == self._metrics:
            return []  # what the new attempt does again is still there from the one before
        since = found.step if found.carried_on_s is not None else found.from_step
        lines = read_newest_metrics(self.directory)
        return [line for line in lines if (_number(line.get("step")) or 0) > (since or 0)]


def watch(
    directory: JobDirectory,
    seen: int,
    pulled_at: float,
    read_record: Callable[[], JobRecord],
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Recovery]:
    """Yield how a job recovers, again and again, until it trains again, is over, or time is.

    Its story had ``seen`` events when the plug was pulled.
    """
    eyes = Watch(directory, seen, pulled_at, read_record)
    deadline = time.monotonic() + timeout_s
    is_back = False
    while True:
        found = eyes.look()
        yield found
        if found.is_back and not is_back:
            is_back, deadline = True, time.monotonic() + SPEED_WAIT_S
        is_known = found.steps >= SPEED_STEPS or found.state is not None
        if is_known or time.monotonic() > deadline:
            return
        time.sleep(POLL_S)


def speed_of(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """Return steps per second, by the median of the steps in these metrics; None without any."""
    took = sorted(seconds for line in lines if (seconds := _number(line.get("step_s"))))
    return round(1 / took[len(took) // 2], 3) if took and took[0] > 0 else None


def _inode(directory: JobDirectory) -> int | None:
    """Return what changes when a new attempt begins the metrics anew."""
    try:
        return directory.metrics.stat().st_ino
    except OSError:
        return None


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None

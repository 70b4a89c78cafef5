"""Whether it pays to start all ranks again, now that machines which were lost are back.

A process that was not there when MPI started can't join the ranks that are. So a run that has gone
on, or was started again, without some of its ranks gets them back by starting again, planned: from
a checkpoint that has just been written, so that next to nothing is done twice.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from beowulf.job.events import read_events, record_event
from beowulf.job.record import read_newest_metrics

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from beowulf.job.directory import JobDirectory
    from beowulf.job.heartbeat import Heartbeat
    from beowulf.runner.reachable import HostProbe
    from beowulf.runner.site import Site

BACK_S = 60.0  # for which a machine must have answered again: some come back only to go
LOOK_S = 2.0
HERE_S = 10.0  # what starting again takes on one computer, with room to spare
SLURM_S = 90.0  # the same if Slurm starts the job again: it waits before it does
WORTH = 2.0  # times what it takes, for what is estimated


def saved_s(directory: JobDirectory) -> float:
    """Return how much sooner the job would be over with all the ranks that it had at first.

    0 if that is not known: from how long steps took before the first loss, and take now.
    """
    before_s = next(filter(None, map(_seconds_of, _since_all(directory))), None)
    lines = read_newest_metrics(directory)
    now_s = _step_s(lines)
    return max(0.0, _steps_left(lines) * (now_s - before_s)) if before_s and now_s else 0.0


def step_s_with_all(directory: JobDirectory, ranks: int) -> float | None:
    """Return how long steps take now, or None if that is not known of so many ranks."""
    lines = read_newest_metrics(directory)
    return _step_s([line for line in lines if line.get("world_size") == ranks])


class Growth:
    """Looks, while some ranks are missing, for the moment at which to start again with all.

    That is when the machines of those that are missing have answered for a while, it pays, and
    a checkpoint has been written since that was found. ``site`` is where the attempt runs,
    ``whole`` where the job's first did.
    """

    def __init__(
        self,
        directory: JobDirectory,
        site: Site,
        probe: HostProbe | None,
        whole: Site | None = None,
    ) -> None:
        self._directory = directory
        self._site = site
        self._whole_hosts = set((whole or site).hosts)
        self._probe = probe
        self._next_look = 0.0
        self._back_since: float | None = None
        self._checkpoint: int | None = None

    def look(self, now: float, beats: Sequence[Heartbeat], without: Collection[int]) -> bool:
        """Say whether to start again, at ``time.monotonic`` ``now``, to have ``without`` back."""
        if now < self._next_look or len(beats) < self._site.ranks:
            return False
        self._next_look = now + LOOK_S
        active = {beat.host for beat in beats if beat.rank not in without}
        lost = {beat.host for beat in beats if beat.rank in without}
        missing = lost | (self._whole_hosts - active)
        if not missing:
            return False
        if not self._serve(missing):
            self._back_since = self._checkpoint = None
            return False
        if self._back_since is None:
            self._back_since = now
        if now < self._back_since + BACK_S:
            return False
        newest = next(iter(self._directory.checkpoint_steps()), 0)
        if self._checkpoint is None:
            cost_s = HERE_S if self._site.slurm_job_id is None else SLURM_S
            if saved_s(self._directory) > WORTH * cost_s:
                self._checkpoint = newest
            return False
        return newest > self._checkpoint

    def _serve(self, hosts: Collection[str]) -> bool:
        return self._probe is None or not set(self._probe.out_of_service()) & set(hosts)


def record_growth(directory: JobDirectory, attempt: int, left_out: Collection[str] = ()) -> str:
    """Add to the job's story that it starts again to grow; return why, in words.

    ``left_out`` are the hosts without which this attempt was started.
    """
    lost = [e for e in _of_this_attempt(directory) if e.get("event") == "lost"]
    gone = [str(host) for event in lost for host in event.get("hosts") or []]
    hosts = list(dict.fromkeys([*sorted(left_out), *gone]))
    why = (
        f"{', '.join(hosts)} {'is' if len(hosts) == 1 else 'are'} back"
        if hosts
        else "ranks are back"
    )
    record_event(directory, "growing", attempt=attempt, hosts=hosts, why=why)
    return why


def growths(directory: JobDirectory) -> list[str]:
    """Return why the job has started again to grow, each time since it was submitted or resumed."""
    said: list[str] = []
    for event in read_events(directory):
        if event.get("event") in ("submitted", "resubmitted"):
            said.clear()
        elif event.get("event") == "growing":
            said.append(str(event.get("why")))
    return said


def _of_this_attempt(directory: JobDirectory) -> list[dict[str, Any]]:
    return _since(directory, "started")


def _since_all(directory: JobDirectory) -> list[dict[str, Any]]:
    """Return what has happened since the job had all its ranks."""
    return _since(directory, "submitted", "resubmitted", "growing")


def _since(directory: JobDirectory, *names: str) -> list[dict[str, Any]]:
    events = read_events(directory)
    begun = (i for i in range(len(events) - 1, -1, -1) if events[i].get("event") in names)
    return events[next(begun, 0) :]


def _step_s(lines: Sequence[dict[str, Any]]) -> float | None:
    took = [seconds for line in lines if (seconds := _seconds(line.get("step_s")))]
    return median(took) if took else None


def _steps_left(lines: Sequence[dict[str, Any]]) -> int:
    step, total = (lines[-1].get(name) for name in ("step", "total_steps")) if lines else (0, 0)
    return total - step if isinstance(step, int) and isinstance(total, int) else 0


def _seconds_of(event: dict[str, Any]) -> float | None:
    """Return how long steps took before a loss, if that is what an event tells of."""
    return _seconds(event.get("step_s")) if event.get("event") in ("lost", "restarting") else None


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None

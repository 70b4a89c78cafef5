"""Whether it pays to start all ranks again, now that machines which were lost are back.

A process that was not there when MPI started can't join the ranks that are. So a run that has gone
on, or was started again, without some of its ranks gets them back by starting again, planned: from
a checkpoint that has just been written, so that next to nothing is done twice.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from beowulf.errors import LaunchError
from beowulf.job.events import read_events, record_event
from beowulf.job.record import read_newest_metrics
from beowulf.runner.allocation import hosts_given, hosts_idle

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from beowulf.job.directory import JobDirectory
    from beowulf.job.heartbeat import Heartbeat
    from beowulf.runner.reachable import HostProbe
    from beowulf.runner.site import Site

BACK_S = 60.0  # for which a machine must have answered again: some come back only to go
LOOK_S = 2.0
ASK_S = 30.0  # between questions to Slurm
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


def widest(directory: JobDirectory) -> tuple[int, list[str]]:
    """Return ranks and hosts of the start that had most hosts, since submitted or resumed.

    0 and none if there was no start.
    """
    starts = [
        (event.get("ranks"), event.get("hosts") or [])
        for event in _since(directory, "submitted", "resubmitted")
        if event.get("event") == "started"
    ]
    known = [
        (ranks, list(map(str, hosts)))
        for ranks, hosts in starts
        if isinstance(ranks, int) and isinstance(hosts, list)
    ]
    return max(known, key=lambda start: (len(start[1]), start[0]), default=(0, []))


def wanted(directory: JobDirectory, hosts: Sequence[str]) -> list[str]:
    """Return the hosts that a job would have if none had been lost, which runs on ``hosts`` now."""
    had = widest(directory)[1]
    others = [host for host in had if host not in hosts]
    return [*hosts, *others[: max(0, len(had) - len(hosts))]]


def step_s_with_all(directory: JobDirectory) -> float | None:
    """Return how long the newest steps took, or None if the job had more ranks before."""
    ranks, _ = widest(directory)
    lines = read_newest_metrics(directory)
    return _step_s([line for line in lines if line.get("world_size") == ranks])


class Growth:
    """Looks, while some ranks are missing, for the moment at which to start again with all.

    That is when the machines of those that are missing have answered for a while, it pays,
    a checkpoint has been written since that was found, and Slurm has not given them to others.
    ``site`` is where the attempt runs, ``wanted`` are the hosts of the job with all its ranks, of
    which ``probe`` asks those that Slurm gave when this supervisor began.
    """

    def __init__(
        self,
        directory: JobDirectory,
        site: Site,
        probe: HostProbe | None,
        wanted: Collection[str] = (),
    ) -> None:
        self._directory = directory
        self._site = site
        self._wanted = set(wanted or site.hosts)
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
        missing = lost | (self._wanted - active)
        return bool(missing) and self._are_back(now, missing) and self._is_time(now, missing)

    def _are_back(self, now: float, hosts: Collection[str]) -> bool:
        if not self._serve(hosts):
            self._begin_anew()
            return False
        if self._back_since is None:
            if not self._can_have(self._not_asked(hosts)):
                self._next_look = now + ASK_S
                return False
            self._back_since = now
        return now >= self._back_since + BACK_S

    def _is_time(self, now: float, hosts: Collection[str]) -> bool:
        newest = next(iter(self._directory.checkpoint_steps()), 0)
        if self._checkpoint is None:
            self._checkpoint = newest if self._pays() else None
            return False
        if newest <= self._checkpoint:
            return False
        if not self._can_have(hosts):
            self._begin_anew()
            self._next_look = now + ASK_S
            return False
        return True

    def _begin_anew(self) -> None:
        self._back_since = self._checkpoint = None

    def _serve(self, hosts: Collection[str]) -> bool:
        return self._probe is None or not set(self._probe.out_of_service()) & set(hosts)

    def _not_asked(self, hosts: Collection[str]) -> set[str]:
        """Return those of hosts of which only Slurm can tell whether they are well."""
        return set(hosts).difference(self._probe.hosts if self._probe else self._site.hosts)

    def _pays(self) -> bool:
        cost_s = HERE_S if self._site.slurm_job_id is None else SLURM_S
        return saved_s(self._directory) > WORTH * cost_s

    def _can_have(self, hosts: Collection[str]) -> bool:
        """Say whether Slurm would give the job these, or has given them. No if it can't be asked.

        What cannot pay is not asked.
        """
        slurm_job_id = self._site.slurm_job_id
        if slurm_job_id is None or not hosts:
            return True
        if not self._pays():
            return False
        try:
            others = sorted(set(hosts).difference(hosts_given(slurm_job_id)))
            return not others or set(others) <= set(hosts_idle(others))
        except LaunchError:
            return False


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

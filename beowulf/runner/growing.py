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


def saved_s(directory: JobDirectory, share: float = 1.0) -> float:
    """Return how much sooner the job would be over with this share of what it misses.

    0 if that is not known: from how long steps took before the first loss, and take now. Steps
    per second are taken to grow with the ranks.
    """
    before_s = next(filter(None, map(_seconds_of, _since_all(directory))), None)
    lines = read_newest_metrics(directory)
    now_s = _step_s(lines)
    if not before_s or not now_s:
        return 0.0
    then_s = 1 / (1 / now_s + share * (1 / before_s - 1 / now_s))
    return max(0.0, _steps_left(lines) * (now_s - then_s))


def widest(directory: JobDirectory) -> tuple[int, list[str]]:
    """Return ranks and hosts of the start that had most hosts, since submitted or resumed.

    0 and none if there was no start.
    """
    starts = [
        (event.get("ranks"), _hosts(event))
        for event in _since(directory, "submitted", "resubmitted")
        if event.get("event") == "started"
    ]
    known = [(ranks, hosts) for ranks, hosts in starts if isinstance(ranks, int)]
    return max(known, key=lambda start: (len(start[1]), start[0]), default=(0, []))


def wanted(directory: JobDirectory, hosts: Sequence[str]) -> list[str]:
    """Return the hosts that a job would have if none had been lost, which begins on ``hosts`` now.

    Not those for which it was started again once, and which it did not get.
    """
    had = widest(directory)[1]
    vain = _in_vain(directory, hosts)
    others = [host for host in had if host not in hosts and host not in vain]
    return [*hosts, *others[: max(0, len(had) - len(hosts))]]


def step_s_with_all(directory: JobDirectory) -> float | None:
    """Return how long the newest steps took, or None if the job had more ranks before."""
    ranks, _ = widest(directory)
    lines = read_newest_metrics(directory)
    return _step_s([line for line in lines if line.get("world_size") == ranks])


class Growth:
    """Looks, while some ranks are missing, for the moment at which to start again with more.

    That is when machines of those that are missing have answered for a while and no other has
    just begun to, it pays, a checkpoint has been written since that was found, and Slurm has not
    given the machines to others. ``site`` is where the attempt runs, ``wanted`` are the hosts of
    the job with all its ranks, of which ``probe`` asks those that Slurm gave when this supervisor
    began. ``back`` are the hosts for which it is time, ``missing`` all that are not there.
    """

    def __init__(
        self,
        directory: JobDirectory,
        site: Site,
        probe: HostProbe | None,
        wanted: Collection[str] = (),
    ) -> None:
        self.back: list[str] = []
        self.missing: set[str] = set()
        self._directory = directory
        self._site = site
        self._wanted = set(wanted or site.hosts)
        self._probe = probe
        self._next_look = self._next_question = 0.0
        self._idle: set[str] = set()
        self._here_since: dict[str, float] = {}
        self._checkpoint: int | None = None

    def look(self, now: float, beats: Sequence[Heartbeat], without: Collection[int]) -> bool:
        """Say whether to start again, at ``time.monotonic`` ``now``, to have ``without`` back."""
        if now < self._next_look or len(beats) < self._site.ranks:
            return False
        self._next_look = now + LOOK_S
        active = {beat.host for beat in beats if beat.rank not in without}
        lost = {beat.host for beat in beats if beat.rank in without}
        self.missing = lost | (self._wanted - active)
        here = self._here(now) if self.missing else set()
        self._here_since = {host: self._here_since.get(host, now) for host in here}
        if not here or any(now < since + BACK_S for since in self._here_since.values()):
            self._checkpoint = None
            return False
        return self._is_time(sorted(here))

    def _here(self, now: float) -> set[str]:
        """Return those of the missing that are well now."""
        asked = self.missing.intersection(self._probe.hosts) if self._probe else set()
        out = self._probe.out_of_service() if self._probe else ()
        return asked.difference(out) | self._well_by_slurm(now, self.missing - asked)

    def _well_by_slurm(self, now: float, hosts: set[str]) -> set[str]:
        """Return those of hosts that Slurm could give, as it said lately; where that would pay."""
        if self._site.slurm_job_id is None:
            return hosts
        if hosts and now >= self._next_question:
            self._next_question = now + ASK_S
            self._idle = self._available(hosts) if self._pays(1.0) else set()
        return hosts & self._idle

    def _is_time(self, back: list[str]) -> bool:
        newest = next(iter(self._directory.checkpoint_steps()), 0)
        if self._checkpoint is None:
            if self._pays(len(back) / len(self.missing)):
                self._checkpoint = newest
            return False
        if newest <= self._checkpoint:
            return False
        if not self._available(back).issuperset(back):
            self._here_since = {}
            return False
        self.back = back
        return True

    def _pays(self, share: float) -> bool:
        cost_s = HERE_S if self._site.slurm_job_id is None else SLURM_S
        return saved_s(self._directory, share) > WORTH * cost_s

    def _available(self, hosts: Collection[str]) -> set[str]:
        """Return those of hosts that Slurm has given the job, or would; none if it is silent."""
        slurm_job_id = self._site.slurm_job_id
        if slurm_job_id is None:
            return set(hosts)
        try:
            given = set(hosts).intersection(hosts_given(slurm_job_id))
            others = sorted(set(hosts) - given)
            return given.union(hosts_idle(others) if others else ())
        except LaunchError:
            return set()


def record_growth(
    directory: JobDirectory, attempt: int, hosts: Sequence[str], missing: Collection[str] = ()
) -> str:
    """Add to the job's story that it starts again to have hosts back; return why, in words.

    ``missing`` are those that it will still be without.
    """
    why = f"{', '.join(hosts)} {'is' if len(hosts) == 1 else 'are'} back"
    record_event(
        directory, "growing", attempt=attempt, hosts=list(hosts), missing=sorted(missing), why=why
    )
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


def _in_vain(directory: JobDirectory, hosts: Sequence[str]) -> set[str]:
    """Return the hosts for which the job was started again, and on which it was not."""
    asked: set[str] = set()
    vain: set[str] = set()
    for event in _since(directory, "submitted", "resubmitted"):
        if event.get("event") == "growing":
            asked = set(_hosts(event))
        elif event.get("event") == "started":
            vain |= asked.difference(_hosts(event))
            asked.clear()
    return vain | asked.difference(hosts)


def _hosts(event: dict[str, Any]) -> list[str]:
    hosts = event.get("hosts")
    return [str(host) for host in hosts] if isinstance(hosts, list) else []


def _since_all(directory: JobDirectory) -> list[dict[str, Any]]:
    """Return what has happened since the job had all its ranks."""
    events = read_events(directory)
    begun = (i for i in range(len(events) - 1, -1, -1) if _had_all(events[i]))
    return events[next(begun, 0) :]


def _had_all(event: dict[str, Any]) -> bool:
    name = event.get("event")
    return name in ("submitted", "resubmitted") or (name == "growing" and not event.get("missing"))


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

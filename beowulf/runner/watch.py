"""What a supervisor looks for while its ranks run, and what makes it end them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.durable import see_anew
from beowulf.job.events import record_event
from beowulf.job.heartbeat import CANNOT_GO_ON, read_heartbeats
from beowulf.job.losses import said_lost
from beowulf.job.record import read_newest_metrics
from beowulf.runner.giving_back import GivingBack
from beowulf.runner.growing import Growth
from beowulf.runner.losses import (
    done_without,
    ended_without_a_word,
    failed_by_itself,
    is_lost,
)
from beowulf.runner.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from beowulf.job.directory import JobDirectory
    from beowulf.job.heartbeat import Heartbeat
    from beowulf.runner.outcome import Stop
    from beowulf.runner.reachable import HostProbe
    from beowulf.runner.site import Site

DONE_GRACE_S = 10.0  # for the launcher to return once every rank has finished
DONE_AFTER_LOSS_S = 1.0  # it never does once hosts were lost
LAST_WORDS_S = 1.0  # for the proof of success, or a failure's cause, once all ranks have ended
LEFT_ALONE_S = 2.0  # for the others to end as well once one says that it can't go on
CARRY_ON_S = 30.0  # for those that are left to agree who they are, besides these steps' time
STEPS = 2
NEVER_TRAINED_S = 5.0  # for the launcher to notice by itself; nobody else will
SILENT_S = 15.0  # until a host is believed to be gone: it was asked three times
HEARTBEATS_S = 0.2  # between looks at the heartbeats of this computer's ranks
PER_RANK_S = 0.02  # of the same on NFS: many ranks' are read less often
ENDED = ("finished", "failed")


class Watch:
    """What a supervisor looks for in the job directory, again and again.

    ``lost`` and ``heartbeats`` are what is known of the ranks: those that are gone, and the words
    of the others as they were before the supervisor ended them. ``wanted`` are the hosts that the
    job would have if none had been lost.
    """

    def __init__(
        self,
        directory: JobDirectory,
        site: Site,
        attempt: int,
        probe: HostProbe | None = None,
        wanted: Collection[str] = (),
    ) -> None:
        self.directory = directory
        self.site = site
        self.attempt = attempt
        self.heartbeats: list[Heartbeat] = []
        self.losses = LossWatch(directory, site.ranks, attempt)
        self.growth = Growth(directory, site, probe, wanted)
        self.giving_back = GivingBack(site, probe)
        self._probe = probe
        self._all_up = False
        self._done_at: float | None = None
        self._next_heartbeats = 0.0
        self._shown = Shown([directory.log, directory.metrics]) if site.on_cluster else None

    def look(self, now: float) -> Stop | None:
        """Look once, ``now`` in seconds of the monotonic clock; return a reason to stop."""
        directory = self.directory
        if self._shown:
            self._shown.pass_on()
            see_anew(directory.path)
        if self._probe:
            self._probe.look(now)
        if self.site.on_cluster and directory.claim(self.attempt + 1).exists():
            return "elsewhere"
        if directory.cancel_request.exists():
            return "cancel"
        if self._done_at is None and directory.done.exists():
            self._done_at = now
        if self._done_at is not None:
            grace_s = DONE_AFTER_LOSS_S if self.losses.lost else DONE_GRACE_S
            # Every rank that is left has finished: only the launcher is stuck.
            return "done" if now > self._done_at + grace_s else None
        return self._look_at_ranks(now) if now >= self._next_heartbeats else None

    def _look_at_ranks(self, now: float) -> Stop | None:
        site = self.site
        every_s = site.ranks * PER_RANK_S if site.on_cluster else HEARTBEATS_S
        self._next_heartbeats = now + every_s
        see_anew(self.directory.heartbeats)
        self.heartbeats = read_heartbeats(self.directory, site.ranks, self.attempt)
        if not self._all_up and len(self.heartbeats) == site.ranks:
            self._all_up = True
            record_event(self.directory, "running")
        silent = self._probe.silent(now, SILENT_S) if self._probe else []
        wordless = ended_without_a_word(self.heartbeats)
        stop = self.losses.look(now, self.heartbeats, silent, wordless)
        if stop is not None:
            return stop
        without = self.losses.without
        self.giving_back.look(now, self.heartbeats, without)
        return "grow" if self.growth.look(now, self.heartbeats, without) else None


class LossWatch:
    """Ranks that are gone, each with the time since which that is known."""

    def __init__(self, directory: JobDirectory, ranks: int, attempt: int) -> None:
        self.lost: dict[int, float] = {}
        self.without: set[int] = set()  # at the latest look, as are the next
        self.wordless: Collection[int] = ()
        self._directory = directory
        self._ranks = ranks
        self._attempt = attempt
        self._ended_at: float | None = None
        self._quiet: set[int] = set()
        self._said: set[int] = set()
        self._events_size = -1

    def look(
        self,
        now: float,
        beats: Sequence[Heartbeat],
        silent: Sequence[str],
        wordless: Collection[int] = (),
    ) -> Stop | None:
        """Say whether the ranks can't go on: one failed, or too many are gone.

        ``silent`` hosts don't answer, ``wordless`` ranks are gone without having said so. Ranks
        without which the others have gone on don't count any more.
        """
        without = self.without = self.done_without()
        self.wordless = wordless
        beats = [beat for beat in beats if beat.rank not in without]
        if failed_by_itself(beats):
            return self._once_all_have_spoken(now, "failed")
        self._note(now, beats, silent)
        if len(beats) + len(without) >= self._ranks and all(b.state in ENDED for b in beats):
            return self._once_all_have_spoken(now, "lost")
        open_since = [since for rank, since in self.lost.items() if rank not in without]
        if not open_since:
            return None
        alone = {beat.rank for beat in beats if beat.exit_code == CANNOT_GO_ON}
        patience_s = LEFT_ALONE_S if alone else self._patience_s(beats)
        since = min(self.lost[rank] for rank in alone) if alone else min(open_since)
        return "lost" if now > since + patience_s else None

    def done_without(self) -> set[int]:
        """Return the ranks without which the others have agreed to go on."""
        return done_without(self._directory, self._attempt, self._ranks)

    def _note(self, now: float, beats: Sequence[Heartbeat], silent: Sequence[str]) -> None:
        quiet = {beat.rank for beat in beats if beat.host in silent}.union(self.wordless)
        for rank in self._quiet - quiet:  # only its cable was out for a moment, or it did speak
            self.lost.pop(rank, None)
        gone = {beat.rank for beat in beats if is_lost(beat)} | self._said_lost()
        self._quiet = quiet - gone
        for rank in gone | quiet:
            self.lost.setdefault(rank, now)

    def _said_lost(self) -> set[int]:
        """Return the ranks that others call lost; the story is read only when it has grown."""
        try:
            size = self._directory.events.stat().st_size
        except OSError:
            return self._said
        if size != self._events_size:
            self._events_size = size
            self._said = said_lost(self._directory, self._attempt)
        return self._said

    def _once_all_have_spoken(self, now: float, stop: Stop) -> Stop | None:
        """Leave a moment for what is still on its way."""
        if self._ended_at is None:
            self._ended_at = now
        return stop if now > self._ended_at + LAST_WORDS_S else None

    def _patience_s(self, beats: Sequence[Heartbeat]) -> float:
        """Return how long those that are left have to agree: they notice at the end of a step."""
        if not any(beat.step for beat in beats):
            return NEVER_TRAINED_S
        took = [line.get("step_s") for line in read_newest_metrics(self._directory)]
        longest_s = max((s for s in took if isinstance(s, int | float)), default=0.0)
        return CARRY_ON_S + STEPS * longest_s

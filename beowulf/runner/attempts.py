"""Attempt after attempt: ranks that were lost are started anew from the newest checkpoint."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from beowulf.durable import see_anew
from beowulf.errors import LaunchError
from beowulf.job.events import record_event
from beowulf.job.heartbeat import read_heartbeats
from beowulf.runner.allocation import hosts_down, hosts_given, requeue
from beowulf.runner.claim import claim_anew
from beowulf.runner.growing import growths, step_s_with_all, wanted
from beowulf.runner.launching import Attempt
from beowulf.runner.losses import is_taken
from beowulf.runner.outcome import Outcome, judge
from beowulf.runner.reachable import HostProbe
from beowulf.runner.site import anew

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.job.directory import JobDirectory
    from beowulf.runner.launching import Termination
    from beowulf.runner.site import Site
    from beowulf.runner.spec import JobSpec

TWICE = 2  # a host that answers, but on which ranks were lost so often, is left out as well
SERVICE_S = 20.0  # for slurmd to be back on a host that is: systemd starts it anew after ten
REQUEUE_S = 60.0  # for Slurm to end this process after it was asked to start the job again
AGAIN_S = 2.0  # between such questions where Slurm does not answer
POLL_S = 0.1


def record_restart(
    directory: JobDirectory, attempt: int, why: str, left_out: Sequence[str] = ()
) -> None:
    """Add to the job's story that all ranks start again: from which checkpoint, without whom."""
    record_event(
        directory,
        "restarting",
        attempt=attempt,
        why=why,
        left_out=list(left_out),
        step=next(iter(directory.checkpoint_steps()), None),
        step_s=step_s_with_all(directory),
    )


class Attempts:
    """A job's attempts under one supervisor.

    ``first`` is the number of its first one, ``used`` how many there were before since the job was
    submitted or resumed, ``restarts`` how often Slurm has started it again.
    """

    def __init__(  # noqa: PLR0913 - what a supervisor knows, each named at the call
        self,
        directory: JobDirectory,
        spec: JobSpec,
        site: Site,
        termination: Termination,
        *,
        first: int,
        used: int = 0,
        restarts: int = 0,
    ) -> None:
        self._directory = directory
        self._spec = spec
        self._used = used
        self._lost_on: Counter[str] = Counter()
        self._whole = site
        self._wanted = tuple(wanted(directory, site.hosts))
        limit_s = spec.resources.time_limit_s
        probe = HostProbe(site.hosts) if len(site.hosts) > 1 else None
        self._attempt = Attempt(
            directory,
            spec,
            site,
            first,
            termination,
            deadline=time.monotonic() + limit_s if limit_s else float("inf"),
            probe=probe,
            restarts=restarts,
            wanted=self._wanted,
        )

    def run(self) -> Outcome | None:
        """Run attempts until one is not to be followed by another, and return how that ended.

        None says that Slurm has the job once more: it is not over, and its end will be
        written by whoever runs it then.
        """
        early = self._ended_before()
        if early is not None:
            return early
        while True:
            stop, outcome = self._attempt.run()
            if stop == "elsewhere" and outcome.state != "COMPLETED":
                return None
            if stop == "grow" and outcome.state != "COMPLETED":
                if not self._grow():
                    return None
                continue
            if not outcome.can_restart:
                return outcome
            if self._used >= self._spec.retry.limit:
                return self._given_up(outcome)
            self._used += 1
            if not self._begin_next(outcome.reason):
                return None

    def _ended_before(self) -> Outcome | None:
        """Return how the job ended if there is nothing to start: cancelled, or finished already."""
        directory = self._directory
        see_anew(directory.path)
        done, cancelled = directory.done.exists(), directory.cancel_request.exists()
        if not done and not cancelled:
            return None
        return judge(
            done=done, launcher_status=0, stop="cancel", ranks=0, heartbeats=(), log_tail=b""
        )

    def _given_up(self, outcome: Outcome) -> Outcome:
        if not self._used:
            return outcome
        times = "once" if self._used == 1 else f"{self._used} times"
        return replace(
            outcome,
            reason=f"{outcome.reason}; it had been started again {times}, which is the limit "
            "([retry] limit)",
        )

    def _grow(self) -> bool:
        """Start again with the ranks that are missing; False if Slurm does it, or has done so.

        It is planned, so that it does not count as one of the attempts that the job may use up.
        """
        slurm_job_id = self._attempt.site.slurm_job_id
        if slurm_job_id is not None and not self._has_all(slurm_job_id):
            self._attempt.end_elsewhere()
            return self._leave_to_slurm(slurm_job_id)
        self._lost_on.clear()
        return self._begin_next(growths(self._directory)[-1])

    def _has_all(self, slurm_job_id: int) -> bool:
        try:
            return set(self._wanted) <= set(hosts_given(slurm_job_id))
        except LaunchError:  # it is away: go on with what there is
            return True

    def _begin_next(self, why: str) -> bool:
        """Make the next attempt ready; False if it is Slurm that starts it, or has done so.

        A host that was left out of the last one is used if it is well by now, and Slurm has not
        taken it away.
        """
        last = self._attempt
        last.end_elsewhere()
        left_out = self._bad_hosts()
        kept = [host for host in self._whole.hosts if host not in left_out]
        if last.site.slurm_job_id is not None and len(kept) < self._spec.resources.fewest_nodes:
            return self._leave_to_slurm(last.site.slurm_job_id)
        site = anew(self._whole, self._spec, left_out)
        number = last.number + 1
        if not self._claim(number):
            return False
        record_restart(self._directory, number, why, sorted(left_out))
        self._attempt = replace(last, site=site, number=number)
        return True

    @property
    def number(self) -> int:
        """The number of the attempt that runs, or was the last to run."""
        return self._attempt.number

    def _bad_hosts(self) -> set[str]:
        """Return the hosts without which the next attempt is to be made, of those of the first."""
        site = self._whole
        if len(site.hosts) < TWICE:
            return set()
        beats = read_heartbeats(self._directory, self._attempt.site.ranks, self._attempt.number)
        self._lost_on.update({beat.host for beat in beats if is_taken(beat)})
        here = site.hosts[0]  # where this runs, so it is well enough
        gone = set(hosts_down(site.hosts)) | self._not_ours()
        if self._attempt.probe is not None:
            others = set(site.hosts) - gone
            gone.update(self._attempt.probe.wait_for_service(SERVICE_S, others))
        often = {host for host, times in self._lost_on.items() if times >= TWICE}
        bad = (gone | often) & set(site.hosts) - {here}
        enough = len(site.hosts) - len(bad) >= self._spec.resources.fewest_nodes
        return bad if enough else bad & gone

    def _not_ours(self) -> set[str]:
        """Return the hosts that Slurm has taken out of the job, perhaps since it was told to."""
        site = self._whole
        if site.slurm_job_id is None:
            return set()
        with contextlib.suppress(LaunchError):
            given = hosts_given(site.slurm_job_id)
            return set(site.hosts) - set(given) if given else set()
        return set()

    def _claim(self, number: int) -> bool:
        """Claim an attempt, which tells those who run the last one, wherever they still do.

        False if it has begun elsewhere: this host was the one that was cut off.
        """
        slurm_job_id = self._attempt.site.slurm_job_id
        if slurm_job_id is None:
            return True
        see_anew(self._directory.path)
        return claim_anew(self._directory, number, slurm_job_id)

    def _leave_to_slurm(self, slurm_job_id: int) -> bool:
        """Ask Slurm to start the job again, on as many nodes as it must have; always False.

        Raises:
            LaunchError: It refuses, or could not be asked for a while.
        """
        until = time.monotonic() + REQUEUE_S
        while not self._attempt.termination.asked:
            try:
                requeue(slurm_job_id)
                break
            except LaunchError:  # slurmctld may just be away
                if time.monotonic() > until:
                    raise
                time.sleep(AGAIN_S)
        until = time.monotonic() + REQUEUE_S
        while not self._attempt.termination.asked and time.monotonic() < until:
            time.sleep(POLL_S)
        return False

"""Start the ranks of one attempt, stay with them, and end what is left of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.durable import read_tail, see_anew, write_file
from beowulf.errors import LaunchError
from beowulf.job.events import read_events, record_event
from beowulf.job.heartbeat import read_heartbeats
from beowulf.job.parent import end_with_parent
from beowulf.runner.allocation import end_steps, hosts_down, restarts_of
from beowulf.runner.growing import record_growth
from beowulf.runner.losses import hosts_left, hosts_of_ranks, is_lost
from beowulf.runner.outcome import judge
from beowulf.runner.processes import end_processes
from beowulf.runner.site import launcher_environment
from beowulf.runner.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from beowulf.job.directory import JobDirectory
    from beowulf.job.heartbeat import Heartbeat
    from beowulf.runner.outcome import Outcome, Stop
    from beowulf.runner.reachable import HostProbe
    from beowulf.runner.site import Site
    from beowulf.runner.spec import JobSpec
    from beowulf.runner.watch import LossWatch

POLL_S = 0.05
GRACE_S = 5.0  # between asking a process to end and killing it
LOST_GRACE_S = 2.0  # the same where ranks were lost, and nothing is to be saved
PROVEN_GRACE_S = 0.5  # the same once success is proven: what is left waits for a lost host
# Slurm tells all hosts of a job to end at once: ranks may fail before this process hears of it.
SETTLE_S = 1.5
LIMIT_SLACK_S = 5.0  # Slurm looks at its time limits now and then
LOG_TAIL_BYTES = 8192


@dataclass
class Termination:
    """Whether Slurm has asked the job to end: by ``scancel``, at its limit, or for a lost node.

    After SIGTERM there are 30 seconds (Slurm's KillWait) to write down the end.
    """

    asked: bool = False

    def __call__(self, _number: int, _frame: object) -> None:
        """Take the signal."""
        self.asked = True


@dataclass(frozen=True)
class Attempt:
    """One start of all ranks. ``deadline`` is the job's, by ``time.monotonic``.

    ``restarts`` is how often Slurm had started this job again before, ``wanted`` are the hosts
    that the job would have if none had been lost.
    """

    directory: JobDirectory
    spec: JobSpec
    site: Site
    number: int
    termination: Termination
    deadline: float = float("inf")
    probe: HostProbe | None = None
    restarts: int = 0
    wanted: tuple[str, ...] = ()

    def run(self) -> tuple[Stop | None, Outcome]:
        """Run the ranks to their end; return why they were stopped, if they were, and judge."""
        with _session_directory(self.site) as variables:
            environment = launcher_environment(
                os.environ, self.spec, self.directory, self.number, self.site
            )
            return self._launch({**environment, **variables})

    def _launch(self, environment: dict[str, str]) -> tuple[Stop | None, Outcome]:
        directory, site = self.directory, self.site
        if not site.is_whole:
            places = zip(site.hosts, site.ranks_per_host, strict=True)
            lines = [f"{host} slots={ranks}\n" for host, ranks in places]
            write_file(directory.hostfile, "".join(lines).encode())
        watch = Watch(directory, site, self.number, self.probe, self.wanted)
        launcher, log_start = _start(directory, environment)
        watch.giving_back.launcher = launcher.pid
        record_event(directory, "started", attempt=self.number, pid=launcher.pid, **site.story)
        grace_s = GRACE_S
        try:
            stop = self._wait(launcher, watch)
            if watch.losses.lost:
                grace_s = LOST_GRACE_S
            if stop is not None:
                if stop == "grow":  # told before any rank ends, so that none is taken for lost
                    growth = watch.growth
                    missing = growth.missing.difference(growth.back)
                    record_growth(directory, self.number, growth.back, missing)
                if stop == "done":
                    grace_s = PROVEN_GRACE_S
                    launcher.kill()  # asked, it would speak of an abort in the job's log
                else:
                    launcher.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    launcher.wait(grace_s)
        finally:
            left = end_processes(directory, grace_s)
            if left:
                print(f"could not end processes {left}", file=sys.stderr)
        return stop, self._judge(launcher.wait(), stop, log_start, watch)

    def _wait(self, launcher: subprocess.Popen[bytes], watch: Watch) -> Stop | None:
        """Wait until the launcher returns or there is a reason to stop it, and return that."""
        next_look = 0.0
        while launcher.poll() is None:
            now = time.monotonic()
            if self.termination.asked:
                return self.why_slurm_ends()
            if now >= next_look:
                next_look = now + self.site.look_s
                stop = watch.look(now)
                if stop is not None:
                    return stop
            if now > self.deadline:
                return "time limit"
            time.sleep(POLL_S)
        if self.site.on_cluster and launcher.returncode != 0:
            self._settle()
        return self.why_slurm_ends() if self.termination.asked else None

    def _settle(self) -> None:
        """Wait a moment for Slurm's signal, which may be why the launcher returned."""
        until = time.monotonic() + SETTLE_S
        while not self.termination.asked and time.monotonic() < until:
            time.sleep(POLL_S)

    def why_slurm_ends(self) -> Stop:
        """Say why Slurm ended the job. It does not tell: while a job ends, it is COMPLETING."""
        see_anew(self.directory.path)
        if self.directory.cancel_request.exists():
            return "cancel"
        if time.time() > self.site.ends_at - LIMIT_SLACK_S:
            return "time limit"
        with contextlib.suppress(LaunchError):
            if self.site.slurm_job_id and restarts_of(self.site.slurm_job_id) > self.restarts:
                return "elsewhere"
        return "slurm"

    def _judge(
        self, launcher_status: int, stop: Stop | None, log_start: int, watch: Watch
    ) -> Outcome:
        directory, site = self.directory, self.site
        see_anew(directory.path)
        see_anew(directory.heartbeats)
        # Those that were stopped for a loss say by now that they were stopped.
        beats = (
            watch.heartbeats
            if stop == "lost"
            else read_heartbeats(directory, site.ranks, self.number)
        )
        without = watch.losses.done_without()
        left = hosts_left(site.hosts, beats, without)
        beats = [beat for beat in beats if beat.rank not in without]
        printed = directory.log.stat().st_size - log_start
        done = directory.done.exists()
        return judge(
            done=done,
            launcher_status=launcher_status,
            stop=stop,
            ranks=site.ranks,
            heartbeats=beats,
            log_tail=read_tail(directory.log, max(0, min(LOG_TAIL_BYTES, printed))),
            without=without,
            hosts_down=hosts_down(site.hosts) if stop == "slurm" else (),
            hosts_silent=() if done else self._silent(stop, beats, watch.losses, left),
            wordless=watch.losses.wordless,
            has_run=any(event.get("event") == "running" for event in read_events(directory)),
        )

    def _silent(
        self,
        stop: Stop | None,
        beats: Sequence[Heartbeat],
        losses: LossWatch,
        left: Collection[str],
    ) -> list[str]:
        """Return the hosts of ranks that are gone without a word, and those that don't answer now.

        To a script, a host that is gone may look like a failure of its own: if it is one of those
        that were ``left``.
        """
        silent: list[str] = []
        if stop == "lost":
            killed = {beat.rank for beat in beats if is_lost(beat)}
            silent = hosts_of_ranks(beats, set(losses.lost) - killed - set(losses.wordless))
        if self.probe is not None and stop in (None, "failed", "lost"):
            asked = self.probe.ask_all()
            if not beats:  # what begins anew at that moment can't be started on either
                asked = self.probe.out_of_service()
            silent += [host for host in asked if host in left and host not in silent]
        return silent

    def end_elsewhere(self) -> None:
        """End what is left of this attempt on other hosts."""
        if self.site.slurm_job_id is not None:
            end_steps(self.site.slurm_job_id)


@contextlib.contextmanager
def _session_directory(site: Site) -> Iterator[dict[str, str]]:
    """Give the launcher a directory of its own here; other hosts would not have it.

    Open MPI's launcher names its directory by its process number and leaves it behind
    when it is killed; one that gets the same number later can't start there.
    """
    if site.on_cluster:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="beowulf-", ignore_cleanup_errors=True) as sessions:
        yield {"PRTE_MCA_prte_tmpdir_base": sessions}


def _start(
    directory: JobDirectory, environment: dict[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the launcher; return it, and where in the log its words begin."""
    mine = os.getpid()
    with directory.log.open("ab", buffering=0) as log:
        log_start = log.seek(0, os.SEEK_END)  # what is before it is of earlier attempts
        launcher = subprocess.Popen(
            ["/bin/bash", str(directory.batch_script)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Safe here: this process has one thread.
            preexec_fn=lambda: end_with_parent(mine, signal.SIGTERM),  # noqa: PLW1509
        )
    return launcher, log_start

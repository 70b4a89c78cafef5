"""The process that stays with a running job: ``python -m beowulf.runner.supervisor``.

On this computer it outlives the terminal. On a cluster it is the batch script that Slurm
starts on the job's first host, and ends with the job's own exit status. It starts the
ranks, enforces the time limit, obeys ``cancel``, makes sure that nothing keeps running,
and writes how the job ended. It is the only writer of ``exit_code``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.durable import read_tail, see_anew, write_file
from beowulf.errors import LaunchError, one_line
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.heartbeat import read_heartbeats
from beowulf.job.parent import end_with_parent
from beowulf.runner.allocation import hosts_down
from beowulf.runner.claim import claim
from beowulf.runner.outcome import Outcome, Stop, judge
from beowulf.runner.processes import end_processes
from beowulf.runner.shown import Shown
from beowulf.runner.site import (
    SLURM_VARIABLE,
    Site,
    given_by_slurm,
    launcher_environment,
    this_computer,
)
from beowulf.runner.spec import JobSpec, read_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL_S = 0.05
GRACE_S = 5.0  # between asking a process to end and killing it
DONE_GRACE_S = 10.0  # for the launcher to return once every rank has finished
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


def supervise(directory: JobDirectory, attempt: int, termination: Termination) -> Outcome:
    """Run one attempt of a job to its end and write down how it ended."""
    try:
        spec = read_spec(directory.spec)
        slurm = SLURM_VARIABLE in os.environ
        site = given_by_slurm(os.environ) if slurm else this_computer(spec)
        outcome = _run(directory, spec, site, attempt, termination)
    except Exception as error:
        reason = f"beowulf could not run the job: {one_line(str(error))}"
        print(f"beowulf: {reason}", file=sys.stderr)
        record_end(directory, Outcome("FAILED", reason, LaunchError.exit_status))
        raise
    record_end(directory, outcome)
    return outcome


def record_end(directory: JobDirectory, outcome: Outcome) -> None:
    """Write how the job ended: the event first, ``exit_code`` last."""
    record_event(
        directory,
        "ended",
        state=outcome.state,
        reason=outcome.reason,
        exit_code=outcome.exit_code,
    )
    write_file(directory.exit_code, f"{outcome.exit_code}\n".encode())


def _run(
    directory: JobDirectory, spec: JobSpec, site: Site, attempt: int, termination: Termination
) -> Outcome:
    see_anew(directory.path)
    if directory.cancel_request.exists():
        return _judge(directory, site, 0, "cancel", 0)
    with _session_directory(site) as variables:
        environment = launcher_environment(os.environ, spec, directory, attempt, site)
        return _launch(directory, spec, site, {**environment, **variables}, termination)


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


def _launch(
    directory: JobDirectory,
    spec: JobSpec,
    site: Site,
    environment: dict[str, str],
    termination: Termination,
) -> Outcome:
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
    attempt = int(environment["BEOWULF_ATTEMPT"])
    record_event(directory, "started", attempt=attempt, pid=launcher.pid, **site.story)
    try:
        stop = _wait(directory, spec, site, launcher, termination)
        if stop is not None:
            launcher.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                launcher.wait(GRACE_S)
    finally:
        left = end_processes(directory, GRACE_S)
        if left:
            print(f"could not end processes {left}", file=sys.stderr)
    return _judge(directory, site, launcher.wait(), stop, log_start)


def _wait(
    directory: JobDirectory,
    spec: JobSpec,
    site: Site,
    launcher: subprocess.Popen[bytes],
    termination: Termination,
) -> Stop | None:
    """Wait until the launcher returns or there is a reason to stop it, and return the reason."""
    limit_s = spec.resources.time_limit_s
    deadline = time.monotonic() + limit_s if limit_s else float("inf")
    watch = _Watch(directory, site)
    next_look = 0.0
    while launcher.poll() is None:
        now = time.monotonic()
        if termination.asked:
            return _why_slurm_ends(directory, site)
        if now >= next_look:
            next_look = now + site.look_s
            stop = watch.look(now)
            if stop is not None:
                return stop
        if now > deadline:
            return "time limit"
        time.sleep(POLL_S)
    if site.on_cluster and launcher.returncode != 0:
        _settle(termination)
    return _why_slurm_ends(directory, site) if termination.asked else None


class _Watch:
    """What a supervisor looks for in the job directory, again and again."""

    def __init__(self, directory: JobDirectory, site: Site) -> None:
        self.directory = directory
        self.site = site
        self.all_up = False
        self.done_at: float | None = None
        self.shown = Shown([directory.log, directory.metrics]) if site.on_cluster else None

    def look(self, now: float) -> Stop | None:
        """Look once, ``now`` in seconds of the monotonic clock; return a reason to stop."""
        directory = self.directory
        if self.shown:
            self.shown.pass_on()
            see_anew(directory.path)
        if not self.all_up:
            self._look_whether_all_are_up()
        if directory.cancel_request.exists():
            return "cancel"
        if self.done_at is None and directory.done.exists():
            self.done_at = now
        if self.done_at is not None and now > self.done_at + DONE_GRACE_S:
            return "done"  # every rank finished: only the launcher is stuck
        return None

    def _look_whether_all_are_up(self) -> None:
        see_anew(self.directory.heartbeats)
        if len(read_heartbeats(self.directory, self.site.ranks)) == self.site.ranks:
            self.all_up = True
            record_event(self.directory, "running")


def _settle(termination: Termination) -> None:
    """Wait a moment for Slurm's signal, which may be why the launcher returned."""
    until = time.monotonic() + SETTLE_S
    while not termination.asked and time.monotonic() < until:
        time.sleep(POLL_S)


def _why_slurm_ends(directory: JobDirectory, site: Site) -> Stop:
    """Say why Slurm ended the job. It does not tell: while a job ends, it is COMPLETING."""
    see_anew(directory.path)
    if directory.cancel_request.exists():
        return "cancel"
    return "time limit" if time.time() > site.ends_at - LIMIT_SLACK_S else "slurm"


def _judge(
    directory: JobDirectory, site: Site, launcher_status: int, stop: Stop | None, log_start: int
) -> Outcome:
    see_anew(directory.path)
    see_anew(directory.heartbeats)
    printed = directory.log.stat().st_size - log_start
    return judge(
        done=directory.done.exists(),
        launcher_status=launcher_status,
        stop=stop,
        ranks=site.ranks,
        heartbeats=read_heartbeats(directory, site.ranks),
        log_tail=read_tail(directory.log, max(0, min(LOG_TAIL_BYTES, printed))),
        hosts_down=hosts_down(site.hosts) if stop == "slurm" else (),
    )


def _is_mine(directory: JobDirectory, attempt: int) -> bool:
    """Say whether this is the one Slurm job that runs this attempt, and claim it."""
    mine = int(os.environ[SLURM_VARIABLE])
    owner = claim(directory, attempt, mine)
    if owner != mine:
        print(
            f"beowulf: Slurm job {mine} does nothing: attempt {attempt} of this job "
            f"is Slurm job {owner} already",
            file=sys.stderr,
        )
    return owner == mine


def main() -> None:
    """Supervise the job whose directory and attempt are given.

    On this computer the lock is inherited open. Under Slurm, this ends with the job's status.
    """
    directory, attempt = JobDirectory(Path(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    termination = Termination()
    if SLURM_VARIABLE not in os.environ:
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
        supervise(directory, attempt, termination)
        return
    signal.signal(signal.SIGTERM, termination)
    try:
        if not _is_mine(directory, attempt):
            sys.exit(LaunchError.exit_status)
        outcome = supervise(directory, attempt, termination)
    except Exception as error:  # noqa: BLE001 - Slurm is told, whatever it was
        print(f"beowulf: supervisor of {directory.path}: {one_line(str(error))}", file=sys.stderr)
        traceback.print_exc()
        sys.exit(LaunchError.exit_status)
    sys.exit(outcome.exit_code)


if __name__ == "__main__":
    main()

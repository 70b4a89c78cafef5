"""What ``mpiexec`` starts once per rank: ``python -m beowulf.rank``.

The process forks. The child becomes the job's script. The parent, which never
touches MPI and so cannot be taken down by it, waits for the child, writes how it
ended, and hands its exit status on to the launcher. Whatever kills the script
(an exception, ``kill -9``, the kernel's memory killer), somebody is left to say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from beowulf.durable import see_anew, write_json
from beowulf.errors import LaunchError, RanksLost, TrainingError
from beowulf.job.directory import JobDirectory
from beowulf.job.events import utc_now
from beowulf.job.heartbeat import (
    KILLED_BY,
    Heartbeat,
    RankState,
    read_heartbeat,
    read_heartbeats,
)
from beowulf.job.parent import end_with_parent
from beowulf.job.survivors import newest_survivors
from beowulf.rank.environment import (
    Placement,
    framework_variables,
    read_placement,
    thread_variables,
    usable_cores,
)
from beowulf.rank.script import LAUNCHER_IS_GONE, end_orderly, leave, run_command

if TYPE_CHECKING:
    from collections.abc import Callable

# Open MPI ends a process that has lost its launcher with this status, and without a word:
# PMIX_ERR_LOST_CONNECTION.
LAUNCHER_GONE = 195
LOOK_S = 1.0  # how often a watcher looks whether its rank is still wanted
FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def main() -> NoReturn:
    """Run one rank of the job named by BEOWULF_JOB_DIR."""
    directory = JobDirectory.of_this_rank()
    if directory is None:
        sys.exit("beowulf: BEOWULF_JOB_DIR is not set; ranks are started by: beowulf submit")
    try:
        placement = read_placement(os.environ)
    except TrainingError as error:
        print(f"beowulf: {error}", file=sys.stderr)
        os._exit(LaunchError.exit_status)
    endpoints = os.environ["BEOWULF_ENDPOINTS"].split(",")
    os.environ.update(framework_variables(placement, endpoints))
    os.environ.update(thread_variables(os.environ, usable_cores()))
    watcher = os.getpid()
    child = os.fork()
    if child == 0:
        _become_script(directory, placement, watcher)
    _watch(directory, placement, child)


def _become_script(directory: JobDirectory, placement: Placement, watcher: int) -> NoReturn:
    """Run the script in this process and end with its status."""
    end_with_parent(watcher, signal.SIGKILL)
    heartbeat = Heartbeat(rank=placement.rank, attempt=placement.attempt)
    heartbeat.write(directory)
    words = directory.arguments.read_bytes().split(b"\0")[:-1]
    exit_code, error = run_command(placement.rank, words)
    if exit_code != 0:
        last = read_heartbeat(directory, placement.rank) or heartbeat
        dataclasses.replace(last, error=error, time=time.time()).write(directory)
        leave(exit_code)
    end_orderly()


def forward_to(child: int) -> Callable[[int, object], None]:
    """Return a signal handler that passes signals on to ``child``, if it is still there.

    The launcher ends all ranks when one fails: its signal may come just when this
    rank's script has ended by itself.
    """

    def handle(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    return handle


def _watch(directory: JobDirectory, placement: Placement, child: int) -> NoReturn:
    """Wait for the script, write how it ended, and end with its status."""
    for number in FORWARDED_SIGNALS:
        signal.signal(number, forward_to(child))
    status = _wait(directory, placement, child)
    for number in FORWARDED_SIGNALS:  # nobody is left to forward to, and the end must be written
        signal.signal(number, signal.SIG_IGN)
    ended = os.waitstatus_to_exitcode(status)
    last = read_heartbeat(directory, placement.rank)
    if last is None:
        last = Heartbeat(rank=placement.rank, attempt=placement.attempt, pid=child)
    exit_code, error = told_of(ended, last.error)
    state: RankState = "finished" if exit_code == 0 else "failed"
    # Who spoke of an error did so when it came: which rank was the first is told by that.
    at = last.time if last.error else time.time()
    dataclasses.replace(last, state=state, exit_code=exit_code, error=error, time=at).write(
        directory
    )
    if exit_code == 0:
        _write_done_if_last(directory, placement)
    if ended == -signal.SIGKILL:
        _vanish()
    os._exit(exit_code)


def told_of(ended: int, error: str) -> tuple[int, str]:
    """Return the exit status and the error to write for a script that has ended.

    ``ended`` is its exit status, or minus the signal that killed it, ``error`` what it said itself.
    """
    if ended < 0:
        return 128 - ended, f"{KILLED_BY}{_signal_name(-ended)}"
    if ended == LAUNCHER_GONE and not error:
        return RanksLost.exit_status, LAUNCHER_IS_GONE
    return ended, error


def _vanish() -> NoReturn:
    """End as a killed process does: MPI's launcher tells the others at once then, and lets them be.

    An exit status would be no reason to tell them, and may be one to end them all.
    """
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives that")


def _wait(directory: JobDirectory, placement: Placement, child: int) -> int:
    """Wait for the script and return its status; end it if the others go on without it.

    A rank that was frozen, or out of reach, must not write anything once it wakes.
    """
    handle = os.pidfd_open(child)
    while not select.select([handle], [], [], LOOK_S)[0]:
        if is_cut_off(directory, placement):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            with contextlib.suppress(OSError):  # the launcher is gone, too
                print(
                    f"beowulf: rank {placement.rank} is ended: the others go on without it",
                    file=sys.stderr,
                    flush=True,
                )
            _vanish()
    os.close(handle)
    return os.waitpid(child, 0)[1]


def is_cut_off(directory: JobDirectory, placement: Placement) -> bool:
    """Say whether other ranks of this attempt go on without this one, or there is a later one."""
    if directory.claim(placement.attempt + 1).exists():
        return True
    survivors = newest_survivors(directory, placement.attempt)
    return survivors is not None and placement.rank not in survivors.ranks


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _write_done_if_last(directory: JobDirectory, placement: Placement) -> None:
    """Write the job's done-marker if every rank has finished, of those that were not lost.

    Each rank writes its own end before it reads the others', so the last one to do
    so sees them all. Two ranks may both be last: they write the same thing.
    """
    survivors = newest_survivors(directory, placement.attempt)
    expected = set(range(placement.ranks) if survivors is None else survivors.ranks)
    if placement.rank not in expected:
        return
    see_anew(directory.heartbeats)
    finished = {
        heartbeat.rank
        for heartbeat in read_heartbeats(directory, placement.ranks)
        if heartbeat.state == "finished" and heartbeat.attempt == placement.attempt
    }
    if finished >= expected:
        proof = {"time": utc_now(), "ranks": len(expected), "attempt": placement.attempt}
        write_json(directory.done, proof)


if __name__ == "__main__":
    main()

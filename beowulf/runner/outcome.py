"""Judge how a job ended, from what its ranks and its launcher left behind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.job.heartbeat import Heartbeat

FinalState = Literal["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"]
# "slurm": Slurm ended the job, and nothing says that its owner asked for that.
Stop = Literal["cancel", "time limit", "done", "slurm"]

CANCELLED_EXIT_CODE = 143  # 128 + SIGTERM, as a shell reports a terminated program
TIMEOUT_EXIT_CODE = 124  # as timeout(1) does
UNPROVEN_EXIT_CODE = 1

# Open MPI 5 (PRRTE 3) on the rank that was lost with its watcher.
LAUNCHER_NAMES_RANK = re.compile(
    rb"process rank (\d+)\s+with PID \d+\s+on node (\S+)\s+exited\s+on\s+signal\s+(\d+)"
)


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its state, why in plain words, and its exit status."""

    state: FinalState
    reason: str
    exit_code: int


def judge(  # noqa: PLR0913 - each fact that counts, named at the call
    *,
    done: bool,
    launcher_status: int,
    stop: Stop | None,
    ranks: int,
    heartbeats: Sequence[Heartbeat],
    log_tail: bytes,
    hosts_down: Sequence[str] = (),
) -> Outcome:
    """Say how a job ended.

    Success is proven by the done-marker alone. The launcher's status is the last
    thing asked: it has been seen to be 0 after ranks were lost.
    """
    if done:
        return Outcome("COMPLETED", "", 0)
    if stop in ("cancel", "time limit", "slurm"):
        return _stopped(stop, hosts_down)
    failed = [heartbeat for heartbeat in heartbeats if heartbeat.state == "failed"]
    lost = _rank_lost_with_its_watcher(log_tail)
    if lost and lost.rank not in {heartbeat.rank for heartbeat in failed}:
        reason = f"rank {lost.rank} on {lost.host} was killed by signal {lost.signal}"
        return Outcome("FAILED", reason, 128 + lost.signal)
    if failed:
        return _failure_of(min(failed, key=lambda heartbeat: heartbeat.time))
    return _failure_without_witness(launcher_status, ranks, heartbeats)


def _stopped(stop: Stop, hosts_down: Sequence[str]) -> Outcome:
    """Say why the job was stopped, by somebody or by what it had been promised."""
    if stop == "cancel":
        return Outcome("CANCELLED", "cancelled by its owner", CANCELLED_EXIT_CODE)
    if stop == "time limit":
        return Outcome("TIMEOUT", "ran longer than its time limit", TIMEOUT_EXIT_CODE)
    if hosts_down:
        return Outcome("FAILED", f"{', '.join(hosts_down)} stopped answering", UNPROVEN_EXIT_CODE)
    return Outcome(
        "CANCELLED", "ended through Slurm (scancel, or its administrator)", CANCELLED_EXIT_CODE
    )


@dataclass(frozen=True)
class LostRank:
    """A rank that could not write its own end, as the launcher names it."""

    rank: int
    host: str
    signal: int


def _rank_lost_with_its_watcher(log_tail: bytes) -> LostRank | None:
    named = LAUNCHER_NAMES_RANK.search(log_tail)
    if not named:
        return None
    return LostRank(int(named[1]), named[2].decode(errors="replace"), int(named[3]))


def _failure_of(first: Heartbeat) -> Outcome:
    """The rank that failed first is the cause; the others were ended because of it."""
    where = f"rank {first.rank} on {first.host}"
    exit_code = first.exit_code or UNPROVEN_EXIT_CODE
    if first.error.startswith("killed by"):
        return Outcome("FAILED", f"{where} was {first.error}", exit_code)
    cause = first.error or f"exit status {exit_code}"
    return Outcome("FAILED", f"{where} failed: {cause}", exit_code)


def _failure_without_witness(
    launcher_status: int, ranks: int, heartbeats: Sequence[Heartbeat]
) -> Outcome:
    finished = {heartbeat.rank for heartbeat in heartbeats if heartbeat.state == "finished"}
    missing = [str(rank) for rank in range(ranks) if rank not in finished]
    if not missing:
        reason = "every rank finished, but the last one could not write the proof of it"
        return Outcome("FAILED", reason, UNPROVEN_EXIT_CODE)
    silent = f"rank{'s' if len(missing) > 1 else ''} {', '.join(missing[:8])}"
    if launcher_status == 0:
        reason = f"mpiexec returned 0, but {silent} never wrote that it finished"
        return Outcome("FAILED", reason, UNPROVEN_EXIT_CODE)
    status = launcher_status if launcher_status > 0 else 128 - launcher_status
    if not heartbeats:
        return Outcome(
            "FAILED", f"mpiexec could not start the ranks (exit status {status})", status
        )
    return Outcome("FAILED", f"mpiexec ended with status {status} while {silent} ran", status)

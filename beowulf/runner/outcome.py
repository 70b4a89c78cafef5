"""Judge how a job ended, from what its ranks and its launcher left behind."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from beowulf.job.heartbeat import CANNOT_GO_ON, KILLED_BY
from beowulf.runner.losses import (
    failed_by_itself,
    first_lost,
    is_lost,
    may_follow_from_another,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from beowulf.job.heartbeat import Heartbeat

FinalState = Literal["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"]
# "slurm": Slurm ended the job, and nothing says that its owner asked for that.
# "failed": a rank's script failed by itself. "lost": ranks are gone, and the others can't go on.
# "elsewhere": Slurm starts the job again, or has done so; what becomes of it is said there.
# "grow": machines that were lost are back, and it pays to start again with them.
Stop = Literal["cancel", "time limit", "done", "slurm", "failed", "lost", "elsewhere", "grow"]

CANCELLED_EXIT_CODE = 143  # 128 + SIGTERM, as a shell reports a terminated program
TIMEOUT_EXIT_CODE = 124  # as timeout(1) does
UNPROVEN_EXIT_CODE = 1

# Open MPI 5 (PRRTE 3) on the rank that was lost with its watcher.
LAUNCHER_NAMES_RANK = re.compile(
    rb"process rank (\d+)\s+with PID \d+\s+on node (\S+)\s+exited\s+on\s+signal\s+(\d+)"
)
# The same before it ends all ranks, since its connection to a host broke.
LAUNCHER_LOST_HOST = re.compile(
    rb"lost communication with a remote daemon\.\s+HNP daemon[^\n]*\n\s*"
    rb"Remote daemon[^\n]* on node (\S+)"
)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: its state, why in plain words, and its exit status.

    ``can_restart`` says that ranks were lost: the script did not fail, so that another attempt
    may do better.
    """

    state: FinalState
    reason: str
    exit_code: int
    can_restart: bool = False


def judge(  # noqa: PLR0913 - each fact that counts, named at the call
    *,
    done: bool,
    launcher_status: int,
    stop: Stop | None,
    ranks: int,
    heartbeats: Sequence[Heartbeat],
    log_tail: bytes,
    hosts_down: Sequence[str] = (),
    hosts_silent: Sequence[str] = (),
    without: Collection[int] = (),
    wordless: Collection[int] = (),
    has_run: bool = False,
) -> Outcome:
    """Say how an attempt ended.

    Success is proven by the done-marker alone. The launcher's status is the last
    thing asked: it has been seen to be 0 after ranks were lost. ``hosts_down`` are those that
    Slurm has given up, ``hosts_silent`` those of ranks that stopped answering, ``without``
    names the ranks without which the others had gone on, and ``wordless`` those that were gone
    before anybody was stopped, and had not said that they end. ``has_run`` says that all ranks of
    the job have been up before: then what it asks for can be started.
    """
    if done:
        return Outcome("COMPLETED", "", 0)
    if stop in ("cancel", "time limit", "slurm"):
        return _stopped(stop, hosts_down)
    if stop == "grow":
        return Outcome("FAILED", "started again with more ranks", UNPROVEN_EXIT_CODE)
    explained = {beat.rank for beat in heartbeats if beat.state == "failed"}.union(without)
    taken = _rank_lost_with_its_watcher(log_tail)
    if taken and taken.rank not in explained:
        reason = f"rank {taken.rank} on {taken.host} was killed by signal {taken.signal}"
        return Outcome("FAILED", reason, 128 + taken.signal, can_restart=True)
    if hosts_silent:
        reason = f"{', '.join(hosts_silent)} stopped answering"
        return Outcome("FAILED", reason, UNPROVEN_EXIT_CODE, can_restart=True)
    witness = _told_by_ranks(heartbeats, wordless, had_time=stop is None)
    if witness and not witness.can_restart and launcher_status < 0 and stop is None:
        witness = _launcher_killed(-launcher_status)  # who fails then had nobody to print to
    if witness and witness.can_restart and (named := LAUNCHER_LOST_HOST.search(log_tail)):
        host = named[1].decode(errors="replace")
        witness = replace(witness, reason=f"mpiexec lost {host}, and ended all ranks")
    expected = [rank for rank in range(ranks) if rank not in without]
    return witness or _failure_without_witness(
        launcher_status, expected, heartbeats, has_run=has_run
    )


def _launcher_killed(number: int) -> Outcome:
    reason = f"mpiexec was killed by signal {number}"
    return Outcome("FAILED", reason, 128 + number, can_restart=True)


def _told_by_ranks(
    heartbeats: Sequence[Heartbeat], wordless: Collection[int], *, had_time: bool
) -> Outcome | None:
    """Judge by what ranks say; if nobody was stopped by us, all ``had_time`` to say their end."""
    first = failed_by_itself(heartbeats) or first_lost(heartbeats)
    missing = [beat for beat in heartbeats if beat.rank in wordless]
    if first is not None:
        misses_others = first.exit_code == CANNOT_GO_ON
        if had_time or misses_others:  # those that say nothing are whom it misses
            missing = [b for b in heartbeats if b.state == "running" or b.rank in wordless]
        if not misses_others and not may_follow_from_another(first):
            missing = []
    if missing:
        where = ", ".join(f"rank {beat.rank} on {beat.host}" for beat in missing[:8])
        reason = f"{where} ended without a word"
        return Outcome("FAILED", reason, UNPROVEN_EXIT_CODE, can_restart=True)
    if first is None:
        return None
    return _loss_of(first) if is_lost(first) else _failure_of(first)


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
    exit_code = first.exit_code or UNPROVEN_EXIT_CODE
    cause = first.error or f"exit status {exit_code}"
    return Outcome("FAILED", f"rank {first.rank} on {first.host} failed: {cause}", exit_code)


def _loss_of(first: Heartbeat) -> Outcome:
    where = f"rank {first.rank} on {first.host}"
    exit_code = first.exit_code or UNPROVEN_EXIT_CODE
    if first.error.startswith(KILLED_BY):
        return Outcome("FAILED", f"{where} was {first.error}", exit_code, can_restart=True)
    why = first.error or f"exit status {CANNOT_GO_ON}"
    return Outcome("FAILED", f"{where}: {why}", exit_code, can_restart=True)


def _failure_without_witness(
    launcher_status: int, ranks: Sequence[int], heartbeats: Sequence[Heartbeat], *, has_run: bool
) -> Outcome:
    """Nothing is proven and nobody says why. Ranks that never came up had not begun."""
    status = launcher_status if launcher_status >= 0 else 128 - launcher_status
    began = bool(heartbeats)
    finished = {heartbeat.rank for heartbeat in heartbeats if heartbeat.state == "finished"}
    missing = [str(rank) for rank in ranks if rank not in finished]
    silent = f"rank{'s' if len(missing) > 1 else ''} {', '.join(missing[:8])}"
    if not missing:
        reason = "every rank finished, but the last one could not write the proof of it"
    elif status == 0:
        reason = f"mpiexec returned 0, but {silent} never wrote that it finished"
    elif not began:
        reason = f"mpiexec could not start the ranks (exit status {status})"
    else:
        reason = f"mpiexec ended with status {status} while {silent} ran"
    exit_code = UNPROVEN_EXIT_CODE if not missing else status or UNPROVEN_EXIT_CODE
    is_loss = began or has_run or launcher_status < 0
    return Outcome("FAILED", reason, exit_code, can_restart=bool(missing) and is_loss)

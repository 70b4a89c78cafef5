"""How a job ended: success is proven, the first failure is the cause, news outweighs silence."""

from __future__ import annotations

from typing import Any

import pytest

from beowulf.job.heartbeat import Heartbeat, RankState
from beowulf.runner.outcome import Outcome, judge

RANK_1_KILLED = b"""--------------------------------------------------------------------------
prterun noticed that process rank 1 with PID 4711 on node node3 exited on
signal 9 (Killed).
--------------------------------------------------------------------------
"""


def heartbeat(rank: int, state: RankState, **details: Any) -> Heartbeat:
    return Heartbeat(rank=rank, attempt=1, state=state, host=f"node{rank}", **details)


def outcome(**facts: Any) -> Outcome:
    """Judge a job of two ranks of which nothing is known, but for these facts."""
    nothing: dict[str, Any] = {
        "done": False, "launcher_status": 0, "stop": None, "ranks": 2, "heartbeats": [],
        "log_tail": b"",
    }  # fmt: skip
    return judge(**(nothing | facts))


@pytest.mark.parametrize("launcher_status", [0, 1, 137, -9])
@pytest.mark.parametrize("stop", [None, "done", "cancel", "time limit"])
def test_the_done_marker_proves_success_whatever_else_is_said(
    launcher_status: int, stop: str | None
) -> None:
    assert outcome(done=True, launcher_status=launcher_status, stop=stop) == Outcome(
        "COMPLETED", "", 0
    )


def test_a_cancelled_job() -> None:
    ended = [heartbeat(0, "failed", exit_code=143, error="killed by signal 15 (SIGTERM)")]
    assert outcome(stop="cancel", heartbeats=ended, launcher_status=1) == Outcome(
        "CANCELLED", "cancelled by its owner", 143
    )


def test_a_job_that_ran_too_long() -> None:
    ended = [heartbeat(0, "failed", exit_code=143, error="killed by signal 15 (SIGTERM)")]
    assert outcome(stop="time limit", heartbeats=ended, launcher_status=1) == Outcome(
        "TIMEOUT", "ran longer than its time limit", 124
    )


def test_the_rank_that_failed_first_is_the_cause() -> None:
    ended = [
        heartbeat(0, "failed", exit_code=143, error="killed by signal 15 (SIGTERM)", time=20.0),
        heartbeat(1, "failed", exit_code=3, error="ValueError: no such file", time=10.0),
    ]
    assert outcome(heartbeats=ended, launcher_status=143) == Outcome(
        "FAILED", "rank 1 on node1 failed: ValueError: no such file", 3
    )


def test_a_rank_that_was_killed() -> None:
    ended = [
        heartbeat(0, "running"),
        heartbeat(1, "failed", exit_code=137, error="killed by signal 9 (SIGKILL)"),
    ]
    assert outcome(heartbeats=ended, launcher_status=137) == Outcome(
        "FAILED", "rank 1 on node1 was killed by signal 9 (SIGKILL)", 137, can_restart=True
    )


def test_a_rank_that_failed_without_a_word() -> None:
    ended = [heartbeat(1, "failed", exit_code=5)]
    assert outcome(heartbeats=ended) == Outcome(
        "FAILED", "rank 1 on node1 failed: exit status 5", 5
    )


def test_a_failure_never_has_exit_status_0() -> None:
    ended = [heartbeat(1, "failed", exit_code=0), heartbeat(0, "finished", exit_code=0)]
    assert outcome(heartbeats=ended).exit_code == 1
    assert outcome(heartbeats=ended).state == "FAILED"


def test_a_rank_lost_with_its_watcher_is_named_by_the_launcher() -> None:
    alive = [heartbeat(0, "running"), heartbeat(1, "running")]
    assert outcome(heartbeats=alive, launcher_status=137, log_tail=RANK_1_KILLED) == Outcome(
        "FAILED", "rank 1 on node3 was killed by signal 9", 137, can_restart=True
    )


def test_a_rank_lost_with_its_watcher_outweighs_those_ended_because_of_it() -> None:
    ended = [
        heartbeat(0, "failed", exit_code=143, error="killed by signal 15 (SIGTERM)"),
        heartbeat(1, "running"),
    ]
    assert outcome(heartbeats=ended, log_tail=RANK_1_KILLED).reason == (
        "rank 1 on node3 was killed by signal 9"
    )


def test_a_rank_s_own_words_outweigh_the_launcher_s() -> None:
    ended = [heartbeat(1, "failed", exit_code=1, error="ValueError: 7")]
    assert outcome(heartbeats=ended, log_tail=RANK_1_KILLED).reason == (
        "rank 1 on node1 failed: ValueError: 7"
    )


def test_a_rank_that_ended_without_a_word_is_named_by_those_that_miss_it() -> None:
    ended = [
        heartbeat(0, "failed", exit_code=75, error="cannot go on without rank 1"),
        heartbeat(1, "running"),
    ]
    assert outcome(heartbeats=ended) == Outcome(
        "FAILED", "rank 1 on node1 ended without a word", 1, can_restart=True
    )


@pytest.mark.parametrize(
    "end",
    [
        {"exit_code": 14},  # Open MPI's own
        {"exit_code": 139, "error": "killed by signal 11 (SIGSEGV)"},
    ],
)
@pytest.mark.parametrize(
    "seen", [{"stop": None}, {"stop": "failed", "wordless": [1]}, {"stop": "lost", "wordless": [1]}]
)
def test_who_went_without_a_word_is_the_cause_of_ends_without_a_word(
    end: dict[str, Any], seen: dict[str, Any]
) -> None:
    ended = [heartbeat(0, "failed", **end), heartbeat(1, "running")]
    assert outcome(heartbeats=ended, launcher_status=1, **seen) == Outcome(
        "FAILED", "rank 1 on node1 ended without a word", 1, can_restart=True
    )


def test_who_went_without_a_word_is_named_while_the_others_hang() -> None:
    beats = [heartbeat(0, "running"), heartbeat(1, "running")]
    assert outcome(heartbeats=beats, launcher_status=1, stop="lost", wordless=[1]) == Outcome(
        "FAILED", "rank 1 on node1 ended without a word", 1, can_restart=True
    )


def test_a_rank_without_which_the_others_went_on_is_not_one_that_ended_without_a_word() -> None:
    """Its watcher ends without a word too, once it is cut off."""
    beats = [heartbeat(0, "running")]
    told = outcome(heartbeats=beats, launcher_status=1, without=[1], wordless=[1])
    assert told.reason == "mpiexec ended with status 1 while rank 0 ran"


@pytest.mark.parametrize(
    "end",
    [
        {"exit_code": 1, "error": "ValueError: 7"},
        {"exit_code": 137, "error": "killed by signal 9 (SIGKILL)"},
        {"exit_code": 139, "error": "killed by signal 11 (SIGSEGV)", "step": 7},
    ],
)
def test_words_and_what_comes_later_are_no_consequence_of_silence(end: dict[str, Any]) -> None:
    ended = [heartbeat(0, "failed", **end), heartbeat(1, "running")]
    assert outcome(heartbeats=ended, stop="failed", wordless=[1]).reason.startswith("rank 0 on")


def test_a_launcher_that_returns_0_proves_nothing() -> None:
    silent = [heartbeat(0, "finished", exit_code=0), heartbeat(1, "running")]
    assert outcome(heartbeats=silent, launcher_status=0) == Outcome(
        "FAILED", "mpiexec returned 0, but rank 1 never wrote that it finished", 1, can_restart=True
    )
    assert outcome(launcher_status=0).reason == (
        "mpiexec returned 0, but ranks 0, 1 never wrote that it finished"
    )


def test_a_launcher_that_could_not_start_the_ranks() -> None:
    assert outcome(launcher_status=213) == Outcome(
        "FAILED", "mpiexec could not start the ranks (exit status 213)", 213
    )


def test_a_launcher_that_was_killed() -> None:
    alive = [heartbeat(0, "running"), heartbeat(1, "running")]
    assert outcome(heartbeats=alive, launcher_status=-9) == Outcome(
        "FAILED", "mpiexec ended with status 137 while ranks 0, 1 ran", 137, can_restart=True
    )


def test_a_rank_that_fails_when_the_launcher_was_killed_is_not_to_blame() -> None:
    """What it prints, nobody reads any more: that fails in many ways."""
    failed = [heartbeat(0, "failed", exit_code=1, error="BrokenPipeError: [Errno 32]")]
    assert outcome(heartbeats=failed, launcher_status=-9) == Outcome(
        "FAILED", "mpiexec was killed by signal 9", 137, can_restart=True
    )
    assert not outcome(heartbeats=failed, launcher_status=-9, stop="failed").can_restart


def test_only_a_few_of_many_silent_ranks_are_named() -> None:
    reason = outcome(ranks=1000, heartbeats=[heartbeat(0, "running")], launcher_status=1).reason
    assert "0, 1, 2, 3, 4, 5, 6, 7 ran" in reason


def test_ranks_that_all_finished_without_proof() -> None:
    finished = [heartbeat(rank, "finished", exit_code=0) for rank in (0, 1)]
    assert outcome(heartbeats=finished) == Outcome(
        "FAILED", "every rank finished, but the last one could not write the proof of it", 1
    )


# --- Ranks that were lost are started again; a script that failed is not ----------------------


def test_ranks_that_others_left_alone_are_started_again() -> None:
    ended = [
        heartbeat(0, "failed", exit_code=75, error="cannot go on without rank 1 (node1)"),
        heartbeat(1, "failed", exit_code=75, error="cannot go on without rank 0 (node0)"),
    ]
    assert outcome(heartbeats=ended, stop="lost") == Outcome(
        "FAILED", "rank 0 on node0: cannot go on without rank 1 (node1)", 75, can_restart=True
    )


def test_a_launcher_that_ends_all_for_the_loss_of_a_host_names_that() -> None:
    log = b"""
PRTE has lost communication with a remote daemon.

  HNP daemon   : [prterun-head-8742@0,0] on node head
  Remote daemon: [prterun-head-8742@0,1] on node node1

This is usually due to
"""
    ended = [heartbeat(0, "failed", exit_code=143, error="killed by signal 15 (SIGTERM)")]
    assert outcome(heartbeats=ended, log_tail=log) == Outcome(
        "FAILED", "mpiexec lost node1, and ended all ranks", 143, can_restart=True
    )
    failed = [heartbeat(0, "failed", exit_code=1, error="ValueError: 7")]
    assert (
        outcome(heartbeats=failed, log_tail=log).reason == "rank 0 on node0 failed: ValueError: 7"
    )


def test_what_has_run_before_can_be_started_again() -> None:
    found = outcome(launcher_status=250, has_run=True)
    assert (found.reason, found.exit_code) == (
        "mpiexec could not start the ranks (exit status 250)", 250,
    )  # fmt: skip
    assert found.can_restart
    assert not outcome(launcher_status=250).can_restart


def test_hosts_that_stopped_answering_are_named_and_left() -> None:
    ended = [heartbeat(0, "failed", exit_code=75, error="cannot go on"), heartbeat(1, "running")]
    assert outcome(heartbeats=ended, stop="lost", hosts_silent=["node1"]) == Outcome(
        "FAILED", "node1 stopped answering", 1, can_restart=True
    )


def test_what_a_script_says_after_it_lost_another_rank_is_not_its_own_failure() -> None:
    ended = [
        heartbeat(0, "failed", exit_code=1, error="RuntimeError: connection closed", time=11.0),
        heartbeat(1, "failed", exit_code=137, error="killed by signal 9 (SIGKILL)", time=10.0),
    ]
    assert outcome(heartbeats=ended).reason == "rank 1 on node1 was killed by signal 9 (SIGKILL)"
    assert outcome(heartbeats=ended).can_restart
    alone = [heartbeat(0, "failed", exit_code=1, error="RuntimeError: connection closed")]
    assert not outcome(heartbeats=alone).can_restart
    assert outcome(heartbeats=alone, hosts_silent=["node1"]).can_restart


def test_a_script_that_failed_is_not_started_again_whoever_was_ended_after_it() -> None:
    ended = [
        heartbeat(0, "failed", exit_code=1, error="ValueError: 7", time=10.0),
        heartbeat(1, "failed", exit_code=143, error="killed by signal 15 (SIGTERM)", time=9.9),
        heartbeat(2, "failed", exit_code=137, error="killed by signal 9 (SIGKILL)", time=15.0),
    ]
    found = outcome(ranks=3, heartbeats=ended, stop="failed")
    assert (found.reason, found.can_restart) == ("rank 0 on node0 failed: ValueError: 7", False)


def test_mpi_s_word_that_another_is_gone_is_not_the_script_s_failure() -> None:
    error = "mpi4py.MPI.Exception: MPI_ERR_PROC_FAILED: Process Failure (train.py line 9)"
    assert outcome(heartbeats=[heartbeat(0, "failed", exit_code=1, error=error)]).can_restart


def test_ranks_without_which_the_others_went_on_explain_nothing() -> None:
    later = [heartbeat(0, "failed", exit_code=1, error="ValueError: 7", time=50.0)]
    found = outcome(heartbeats=later, without={1}, log_tail=RANK_1_KILLED)
    assert (found.reason, found.can_restart) == ("rank 0 on node0 failed: ValueError: 7", False)
    assert outcome(heartbeats=[heartbeat(0, "running")], without={1}).reason == (
        "mpiexec returned 0, but rank 0 never wrote that it finished"
    )


def test_ranks_that_never_came_up_are_not_started_again() -> None:
    assert not outcome(launcher_status=213).can_restart

"""Ranks that are gone: who is left gets time to go on without them, and no more than that."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.heartbeat import CANNOT_GO_ON, Heartbeat, RankState
from beowulf.job.survivors import Survivors, claim_survival
from beowulf.runner.losses import ended_without_a_word, hosts_left
from beowulf.runner.site import Site
from beowulf.runner.watch import (
    CARRY_ON_S,
    DONE_AFTER_LOSS_S,
    DONE_GRACE_S,
    LAST_WORDS_S,
    LEFT_ALONE_S,
    NEVER_TRAINED_S,
    STEPS,
    LossWatch,
    Watch,
)

KILLED = {"exit_code": 137, "error": "killed by signal 9 (SIGKILL)"}
SOON = 0.1


@pytest.fixture
def directory(tmp_path: Path) -> JobDirectory:
    found = JobDirectory(tmp_path)
    found.heartbeats.mkdir()
    found.log.touch()
    record_event(found, "submitted", attempt=1)
    return found


def beat(rank: int, state: RankState = "running", **details: Any) -> Heartbeat:
    return Heartbeat(**{"rank": rank, "attempt": 1, "state": state, "step": 7,
                        "host": f"node{rank}"} | details)  # fmt: skip


def survive(directory: JobDirectory, number: int, *ranks: int) -> None:
    lost = [rank for rank in range(3) if rank not in ranks]
    claim_survival(directory, Survivors(1, number, ranks, tuple(lost), step=7))


def test_all_is_well(directory: JobDirectory) -> None:
    watch = LossWatch(directory, 3, 1)
    beats = [beat(0), beat(1), beat(2, "finished")]
    assert [watch.look(now, beats, []) for now in (0.0, 1000.0)] == [None, None]


def test_a_script_that_fails_ends_the_job_at_once(directory: JobDirectory) -> None:
    watch = LossWatch(directory, 3, 1)
    beats = [beat(0), beat(1, "failed", exit_code=1, error="ValueError: 7"), beat(2)]
    assert watch.look(0.0, beats, []) is None  # the launcher may end by itself, and others speak
    assert watch.look(LAST_WORDS_S + SOON, beats, []) == "failed"


def test_those_that_are_left_have_time_to_agree(directory: JobDirectory) -> None:
    watch = LossWatch(directory, 3, 1)
    beats = [beat(0), beat(1, "failed", **KILLED), beat(2)]
    assert watch.look(0.0, beats, []) is None
    assert watch.look(CARRY_ON_S - SOON, beats, []) is None
    assert watch.look(CARRY_ON_S + SOON, beats, []) == "lost"


def test_long_steps_give_them_longer(directory: JobDirectory) -> None:
    directory.metrics.write_text('{"step": 6, "samples": 8, "step_s": 50.0}\n')
    watch = LossWatch(directory, 3, 1)
    beats = [beat(0), beat(1, "failed", **KILLED), beat(2)]
    assert watch.look(0.0, beats, []) is None
    assert watch.look(CARRY_ON_S + STEPS * 50 - SOON, beats, []) is None
    assert watch.look(CARRY_ON_S + STEPS * 50 + SOON, beats, []) == "lost"


def test_a_script_that_does_not_train_with_beowulf_can_only_be_started_again(
    directory: JobDirectory,
) -> None:
    watch = LossWatch(directory, 2, 1)
    beats = [beat(0, step=0), beat(1, "failed", step=0, **KILLED)]
    assert watch.look(0.0, beats, []) is None
    assert watch.look(NEVER_TRAINED_S + SOON, beats, []) == "lost"


def test_who_has_gone_on_is_left_alone(directory: JobDirectory) -> None:
    watch = LossWatch(directory, 3, 1)
    beats = [beat(0), beat(1, "failed", **KILLED), beat(2)]
    assert watch.look(0.0, beats, []) is None
    survive(directory, 1, 0, 2)
    assert watch.look(1000.0, beats, []) is None
    # A second loss counts from when it is seen.
    beats[2] = beat(2, "failed", **KILLED)
    assert watch.look(2000.0, beats, []) is None
    assert watch.look(2000.0 + CARRY_ON_S + SOON, beats, []) == "lost"
    survive(directory, 2, 0)
    assert watch.look(3000.0, beats, []) is None


def test_a_failure_after_a_loss_that_was_survived_is_the_script_s_own(
    directory: JobDirectory,
) -> None:
    survive(directory, 1, 0, 2)
    watch = LossWatch(directory, 3, 1)
    beats = [
        beat(0, "failed", exit_code=1, error="ValueError: 7", time=50.0),
        beat(1, "failed", time=10.0, **KILLED),
        beat(2),
    ]
    assert watch.look(0.0, beats, []) is None
    assert watch.look(LAST_WORDS_S + SOON, beats, []) == "failed"


def test_ranks_of_which_others_say_that_they_are_gone(directory: JobDirectory) -> None:
    watch = LossWatch(directory, 3, 1)
    beats = [beat(0), beat(1), beat(2)]
    record_event(directory, "lost", ranks=[2], hosts=["node2"], step=7, attempt=9)
    assert watch.look(0.0, beats, []) is None
    assert not watch.lost
    record_event(directory, "lost", ranks=[2], hosts=["node2"], step=7, attempt=1)
    assert watch.look(1.0, beats, []) is None
    assert watch.look(1.0 + CARRY_ON_S + SOON, beats, []) == "lost"


def test_a_host_that_answers_again_has_lost_nothing(directory: JobDirectory) -> None:
    watch = LossWatch(directory, 2, 1)
    beats = [beat(0, step=0), beat(1, step=0)]
    assert watch.look(0.0, beats, ["node1"]) is None
    assert watch.look(NEVER_TRAINED_S - SOON, beats, []) is None
    assert watch.look(1000.0, beats, []) is None
    assert watch.look(1000.0, beats, ["node1"]) is None
    assert watch.look(1000.0 + NEVER_TRAINED_S + SOON, beats, ["node1"]) == "lost"


def test_ranks_that_went_without_a_word_are_lost_unless_they_were_only_about_to_speak(
    directory: JobDirectory,
) -> None:
    watch = LossWatch(directory, 2, 1)
    beats = [beat(0, step=0), beat(1, step=0)]
    assert watch.look(0.0, beats, [], {1}) is None
    assert watch.look(1.0, [beat(0, step=0), beat(1, "finished", step=0)], [], set()) is None
    assert watch.look(1000.0, beats, [], set()) is None
    assert watch.look(2000.0, beats, [], {1}) is None
    assert watch.look(2000.0 + NEVER_TRAINED_S + SOON, beats, [], {1}) == "lost"


def test_only_this_host_s_ranks_can_be_seen_to_be_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    here: dict[str, Any] = {"host": platform.node()}
    beats = [
        beat(0, pid=os.getpid(), **here),
        beat(1, pid=ended.pid, **here),
        beat(2, pid=ended.pid),
        beat(3, "finished", pid=ended.pid, **here),
    ]
    assert ended_without_a_word(beats) == {1}


def test_one_that_cannot_go_on_says_so_for_all(directory: JobDirectory) -> None:
    watch = LossWatch(directory, 3, 1)
    alone = {"exit_code": CANNOT_GO_ON, "error": "cannot go on without rank 2"}
    beats = [beat(0, "failed", **alone), beat(1), beat(2)]
    assert watch.look(0.0, beats, []) is None
    assert watch.look(LEFT_ALONE_S + SOON, beats, []) == "lost"


def test_when_nobody_is_left_the_launcher_is_not_waited_for(directory: JobDirectory) -> None:
    watch = LossWatch(directory, 2, 1)
    beats = [beat(0, "finished"), beat(1, "failed", **KILLED)]
    assert watch.look(0.0, beats, []) is None
    assert watch.look(LAST_WORDS_S + SOON, beats, []) == "lost"


def test_a_host_is_left_as_long_as_the_job_goes_on_with_a_rank_of_it() -> None:
    hosts = ["node1", "node2", "node3", "node4"]
    beats = [Heartbeat(rank, 1, host=hosts[rank // 2]) for rank in range(6)]  # none of node4's yet
    assert hosts_left(hosts, beats, ()) == hosts
    assert hosts_left(hosts, beats, {2, 4, 5}) == ["node1", "node2", "node4"]


# --- The whole watch -------------------------------------------------------------------------


def watched(directory: JobDirectory, *, on_cluster: bool = False) -> Watch:
    hosts = ("node0", "node1") if on_cluster else ()
    site = Site(2, ("a:1", "b:2"), hosts=hosts, slurm_job_id=71 if on_cluster else None)
    return Watch(directory, site, 1)


@pytest.mark.parametrize(("state", "grace_s"), [
    ("running", DONE_GRACE_S), ("failed", DONE_AFTER_LOSS_S),
])  # fmt: skip
def test_a_launcher_that_hangs_at_the_end_is_waited_for_less_after_a_loss(
    directory: JobDirectory, state: RankState, grace_s: float
) -> None:
    watch = watched(directory)
    beat(0).write(directory)
    beat(1, state, **KILLED if state == "failed" else {}).write(directory)
    assert watch.look(0.0) is None
    directory.done.touch()
    assert watch.look(1.0) is None
    assert watch.look(1.0 + grace_s - SOON) is None
    assert watch.look(1.0 + grace_s + SOON) == "done"


def test_words_of_an_earlier_attempt_are_not_heard(directory: JobDirectory) -> None:
    watch = watched(directory)
    for rank in (0, 1):
        beat(rank, "failed", attempt=0, exit_code=1, error="ValueError: 7").write(directory)
    assert watch.look(0.0) is None
    assert watch.look(1000.0) is None
    assert "running" not in directory.events.read_text()
    for rank in (0, 1):
        beat(rank).write(directory)
    assert watch.look(2000.0) is None
    assert "running" in directory.events.read_text()


def test_a_later_attempt_elsewhere_ends_this_one(directory: JobDirectory) -> None:
    watch = watched(directory, on_cluster=True)
    assert watch.look(0.0) is None
    directory.claim(2).write_text("71\n")
    assert watch.look(1.0) == "elsewhere"

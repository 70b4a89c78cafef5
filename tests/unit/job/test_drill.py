"""Which plug is meant by a drill, from a job's files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from beowulf.durable import append_json_line
from beowulf.errors import InvalidInput
from beowulf.job.drill import Plug, find_plug, record_drill
from beowulf.job.events import read_events, record_event
from beowulf.job.heartbeat import Heartbeat
from beowulf.job.record import JobRecord, read_record
from beowulf.job.survivors import Survivors, claim_survival

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory

HOSTS = ("head", "node1", "node1", "node2")


@pytest.fixture
def running(job: JobDirectory) -> JobDirectory:
    """A job with four ranks on three nodes, in its second attempt."""
    record_event(job, "submitted", name="digits", ranks=4, attempt=1)
    record_event(job, "started", attempt=2, ranks=4, hosts=["head", "node1", "node2"])
    record_event(job, "running")
    job.heartbeats.mkdir(exist_ok=True)
    for rank, host in enumerate(HOSTS):
        Heartbeat(rank, 2, step=40, host=host, pid=100 + rank).write(job)
    for step in range(1, 43):
        append_json_line(job.metrics, {"step": step, "step_s": 0.25, "samples": 8})
    (job.checkpoints / "step-00000030").mkdir(parents=True)
    return job


def found(
    job: JobDirectory, what: str = "kill", rank: int | None = None, node: str | None = None
) -> Plug:
    return find_plug(job, record_of(job), what, rank, node)


def record_of(job: JobDirectory) -> JobRecord:
    return read_record(job, responsible=True)


def test_without_a_name_it_is_the_last_rank_s(running: JobDirectory) -> None:
    plug = found(running)
    assert plug == Plug("7", 2, "kill", "node2", (3,), (103,), 3, 42, 30, 4.0)
    assert Plug.from_json(json.loads(json.dumps(plug.to_json()))) == plug


def test_a_rank_s_or_a_whole_node_s(running: JobDirectory) -> None:
    assert found(running, "freeze", rank=1).ranks == (1,)
    node = found(running, "kill", node="node1")
    assert (node.ranks, node.pids, node.left) == ((1, 2), (101, 102), 2)
    assert found(running, "cut", rank=2).ranks == (1, 2)


def test_ranks_that_were_lost_before_have_no_plug(running: JobDirectory) -> None:
    claim_survival(running, Survivors(2, 1, (0, 1, 2), (3,), 41))
    assert found(running).ranks == (2,)
    with pytest.raises(InvalidInput, match="no rank 3"):
        found(running, rank=3)


def test_neither_have_those_of_another_attempt_or_that_ended(running: JobDirectory) -> None:
    Heartbeat(3, 1, host="node2").write(running)
    Heartbeat(2, 2, state="failed", host="node1").write(running)
    assert found(running).ranks == (1,)


@pytest.mark.parametrize(
    ("rank", "node", "words"),
    [(9, None, "--rank: job 7 has no rank 9"), (None, "node7", "no rank on 'node7'"),
     (None, "\x1b[2J", "no rank on")],
)  # fmt: skip
def test_who_is_not_there_is_named(
    running: JobDirectory, rank: int | None, node: str | None, words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        found(running, rank=rank, node=node)
    assert words in str(refused.value)
    assert str(refused.value).isprintable()


def test_only_a_running_job_is_drilled(running: JobDirectory) -> None:
    record_event(running, "lost", ranks=[3], hosts=["node2"])
    with pytest.raises(InvalidInput, match="job 7 is RECOVERING"):
        found(running)
    with pytest.raises(InvalidInput, match="there are: kill, freeze, cut"):
        found(running, "explode")


def test_the_supervisor_s_node_is_not_frozen(running: JobDirectory) -> None:
    with pytest.raises(InvalidInput, match=r"first node.*name another: --node node1"):
        found(running, "cut", node="head")
    assert found(running, "kill", node="head").ranks == (0,)
    claim_survival(running, Survivors(2, 1, (1, 2, 3), (0,), 41))
    with pytest.raises(InvalidInput, match="first node"):
        found(running, "cut", node="node1")  # it is not known whether another one was the first


def test_a_job_that_has_no_step_or_checkpoint_yet(running: JobDirectory) -> None:
    running.metrics.unlink()
    (running.checkpoints / "step-00000030").rmdir()
    plug = found(running)
    assert (plug.step, plug.checkpoint_step, plug.steps_per_s) == (40, None, None)


def test_the_story_tells_of_each_rank_and_of_a_cut_once(running: JobDirectory) -> None:
    plug = found(running, "kill", node="node1")
    record_drill(running, plug, 1_795_600_000.5)
    record_drill(running, replace(plug, what="cut"), 1_795_600_000.5)
    told = [event for event in read_events(running) if event["event"] == "drill"]
    assert [(event["what"], event["rank"]) for event in told] == [
        ("kill", 1), ("kill", 2), ("cut", 1),
    ]  # fmt: skip
    assert {event["time"] for event in told} == {"2026-11-25T09:46:40.500+00:00"}
    assert {event["host"] for event in told} == {"node1"}

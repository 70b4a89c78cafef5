"""Nodes and the jobs on them, from what a real cluster printed, and from garbage."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import CommandFailed
from beowulf.hardware.nodes import COMMAND, NodeJob, ask_nodes, parse_reports
from beowulf.transport.fake import Answer, FakeConnection
from tests.unit.hardware.recorded import AWAY, BUSY, NODES


def test_a_job_stands_with_each_of_its_nodes() -> None:
    head, node1, node2, node3 = parse_reports(BUSY)
    digits = NodeJob("27", "ada", "digits", "RUNNING", "2026-11-23T04:07:27+00:00")
    assert (node1.jobs, node2.jobs) == ((digits,), (digits,))
    assert (head.jobs, node3.jobs) == ((), ())


def test_a_busy_node_has_been_so_since_its_oldest_job_and_a_free_one_since_its_last() -> None:
    head, node1, *_ = parse_reports(BUSY + "9|ben|RUNNING|2026-11-23T03:00:00|node1|old\n")
    assert node1.since == "2026-11-23T03:00:00+00:00"
    assert head.since == "2026-11-23T04:06:49+00:00"


def test_one_round_trip_asks_for_all() -> None:
    connection = FakeConnection([Answer(BUSY.encode())])
    assert [report.node.name for report in ask_nodes(connection)] == [
        "head", "node1", "node2", "node3",
    ]  # fmt: skip
    assert [call.arguments for call in connection.calls] == [COMMAND]


def test_a_job_s_name_with_signs_of_ours_stays_a_name() -> None:
    told = NODES + "@@jobs\n5|ada|RUNNING|N/A|head|a|b\x1b[31m|c\n"
    (job,) = parse_reports(told)[0].jobs
    assert job.name == "a|b\\x1b[31m|c"
    assert job.started_at is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(status=1, errors=AWAY), "systemctl status slurmctld"),
        (Answer(status=127, errors="sh: 2: scontrol: not found\n"), "not installed"),
        (Answer(status=1, errors="scontrol: strange\n"), "scontrol: strange"),
        (Answer(status=1), "exit status 1"),
        (Answer(b"", status=0), "has no nodes"),
    ],
)
def test_no_answer_is_one_line_with_the_head_s_name(answer: Answer, words: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        ask_nodes(FakeConnection([answer]))
    assert words in str(caught.value)
    assert str(caught.value).startswith("ada@head: ")


def test_json_holds_the_plain_state_and_slurm_s_own() -> None:
    document = json.loads(json.dumps([report.to_json() for report in parse_reports(BUSY)]))
    assert document[1]["state"] == "busy"
    assert document[1]["slurm_state"] == "ALLOCATED"
    assert document[1]["is_up"] is True
    assert document[1]["jobs"][0]["user"] == "ada"


@given(st.text())
def test_garbage_is_survived(text: str) -> None:
    assert parse_reports(text) == []
    assert len(parse_reports(f"{NODES}@@jobs\n{text}")) == 4


@given(st.integers(0, len(BUSY)))
def test_an_answer_that_breaks_off_is_survived(length: int) -> None:
    assert len(parse_reports(BUSY[:length])) <= 4

"""Slurm's words on nodes, read from what a real cluster printed, and from garbage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.job.slurm_nodes import (
    MOST_NAMES,
    NodeState,
    expand_names,
    parse_nodes,
    plain_state,
    trouble_in_words,
    when_in_words,
)
from tests.conftest import REPOSITORY

RECORDINGS = REPOSITORY / "tests" / "recordings" / "slurm"
BUSY = (RECORDINGS / "nodes_two_busy.txt").read_text()
DRAINING = (RECORDINGS / "nodes_draining.txt").read_text()


def test_nodes_have_their_state_cores_memory_and_load() -> None:
    head, node1, node2, node3 = parse_nodes(BUSY)
    assert head == NodeState(
        "head", "free", "IDLE", 0, 1, 0, 684, 0.1, "2026-11-23T04:06:49+00:00", "", ""
    )
    assert (node1.name, node1.state, node1.cores_used, node1.memory_used_mb) == (
        "node1", "busy", 1, 684,
    )  # fmt: skip
    assert [node.is_up for node in (head, node1, node2, node3)] == [True] * 4


def test_a_node_that_is_drained_while_it_works_says_who_did_so_when_and_why() -> None:
    node3 = parse_nodes(DRAINING)[3]
    assert (node3.state, node3.slurm_state) == ("draining", "ALLOCATED+DRAIN")
    assert (node3.reason, node3.reason_by) == ("disk is dying", "root")
    assert node3.since == "2026-11-23T04:08:17+00:00"
    assert not node3.is_up


def test_a_reason_that_looks_like_a_state_is_none() -> None:
    line = DRAINING.splitlines()[3].replace("disk is dying", "x State=IDLE CPUTot=99 [a@b]")
    (node,) = parse_nodes(line)
    assert (node.state, node.cores) == ("draining", 1)


def test_times_are_read_in_the_zone_they_were_written_in() -> None:
    east = timezone(timedelta(hours=2))
    assert parse_nodes(BUSY, east)[0].since == "2026-11-23T02:06:49+00:00"


@pytest.mark.parametrize(
    ("slurm", "plain"),
    [
        ("IDLE", "free"),
        ("IDLE+PLANNED", "free"),
        ("MIXED", "partly busy"),
        ("ALLOCATED+COMPLETING", "busy"),
        ("COMPLETING", "finishing"),
        ("DOWN", "down"),
        ("DOWN*", "off"),
        ("DOWN+NOT_RESPONDING", "off"),
        ("DOWN+DRAIN+NOT_RESPONDING", "off"),
        ("DOWN+DRAIN", "down"),
        ("IDLE*", "not answering"),
        ("IDLE+DRAIN", "drained"),
        ("MIXED+DRAIN", "draining"),
        ("IDLE+COMPLETING+DRAIN", "draining"),
        ("IDLE+REBOOT_REQUESTED", "free"),
        ("DOWN+REBOOT_ISSUED", "rebooting"),
        ("IDLE+CLOUD+POWERED_DOWN", "asleep"),
        ("IDLE~", "asleep"),
        ("IDLE+INVALID_REG", "down"),
        ("SINGING_ALOUD", "singing aloud"),
        ("", "unknown"),
    ],
)
def test_states_are_plain_words(slurm: str, plain: str) -> None:
    assert plain_state(slurm) == plain


def test_a_node_in_a_state_never_seen_is_not_counted_upon() -> None:
    (node,) = parse_nodes("NodeName=node1 CPUTot=4 State=SINGING")
    assert (node.state, node.is_up) == ("singing", False)


@pytest.mark.parametrize(
    ("names", "nodes"),
    [
        ("node1", ["node1"]),
        ("head,node[1-3,7]", ["head", "node1", "node2", "node3", "node7"]),
        ("pc[08-10]a", ["pc08a", "pc09a", "pc10a"]),
        ("", []),
        ("node[", ["node["]),
        ("rack[1-2]n[1-2]", ["rack[1-2]n[1-2]"]),
    ],
)
def test_short_forms_of_names_are_spelled_out(names: str, nodes: list[str]) -> None:
    assert expand_names(names) == nodes


def test_a_range_without_end_is_bounded() -> None:
    assert len(expand_names("n[1-999999999],m[1-999999999]")) == MOST_NAMES


def test_a_moment_is_said_the_nearer_the_shorter() -> None:
    now = datetime(2026, 11, 23, 16, 0, tzinfo=UTC).astimezone()

    def said(**back: int) -> str:
        return when_in_words((now - timedelta(**back)).isoformat(), now)

    assert said(minutes=1) == f"{now - timedelta(minutes=1):%H:%M}"
    yesterday = now - timedelta(days=1)
    assert said(days=1).endswith(f"day {yesterday:%H:%M}")
    assert said(days=8).startswith("Nov 15 ")
    assert said(days=400).startswith("Oct 19 2025 ")


def test_what_is_wrong_with_a_node_is_one_sentence() -> None:
    node = parse_nodes(DRAINING)[3]
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    words = trouble_in_words(node, now)
    assert words.startswith("node3 has been draining since Monday ")
    assert words.endswith(" (disk is dying)")


@given(st.text())
def test_garbage_is_no_node_and_no_crash(text: str) -> None:
    assert parse_nodes(text) == []
    assert expand_names(text) is not None
    assert plain_state(text)


@given(st.text(), st.text())
def test_garbage_in_the_fields_of_a_node_is_survived(first: str, second: str) -> None:
    facts = f"CPUTot={first} State={second} LastBusyTime={first}"
    line = f"NodeName=n1 {facts} Reason={second} [a@{first}]"
    for node in parse_nodes(line):
        assert node.name
        assert trouble_in_words(node).isprintable()


@given(st.integers(1, len(BUSY) - 1))
def test_an_answer_that_breaks_off_is_survived(length: int) -> None:
    assert len(parse_nodes(BUSY[:length])) <= 4

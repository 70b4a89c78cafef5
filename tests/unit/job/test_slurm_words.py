"""Why a job waits, was refused, or ended: Slurm's words from a real cluster, in plain ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import InvalidInput, Unreachable
from beowulf.job.record import State
from beowulf.job.slurm_nodes import NodeState, parse_nodes
from beowulf.job.slurm_words import (
    ended_in_words,
    is_refusal,
    refused_in_words,
    waiting_in_words,
)
from tests.conftest import REPOSITORY

RECORDINGS = REPOSITORY / "tests" / "recordings" / "slurm"
NODES = parse_nodes((RECORDINGS / "nodes_two_busy.txt").read_text())
DRAINING = parse_nodes((RECORDINGS / "nodes_draining.txt").read_text())
REFUSALS = [line.split(": ", 1) for line in (RECORDINGS / "refusals.txt").read_text().splitlines()]
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def with_off(name: str) -> list[NodeState]:
    """The nodes, with one of them off since Tuesday noon."""

    def off(node: NodeState) -> NodeState:
        since = "2026-11-24T12:02:00+00:00"
        return replace(node, state="off", reason="Not responding", reason_by="slurm", since=since)

    return [off(node) if node.name == name else node for node in NODES]


def test_too_few_nodes_are_named_with_the_day_they_went() -> None:
    words = waiting_in_words("Resources", "4", with_off("node2"), NOW)
    day = datetime(2026, 11, 24, 12, 2, tzinfo=UTC).astimezone()
    assert words == f"needs 4 nodes, 3 are up; node2 has been off since Tuesday {day:%H:%M}"


def test_busy_nodes_are_counted() -> None:
    assert waiting_in_words("Resources", "4", NODES) == (
        "needs 4 nodes, and waits until others' jobs leave them; 2 of 4 are free now"
    )


def test_a_node_that_is_off_and_not_needed_is_not_the_reason() -> None:
    assert "node2" not in waiting_in_words("Resources", "3", with_off("node2"), NOW)


def test_a_drained_node_is_named_with_its_reason() -> None:
    recorded = (RECORDINGS / "queue_draining.txt").read_text().splitlines()
    (long_reason,) = {line.split("|")[2] for line in recorded if line.startswith("28|")}
    assert "node3 has been draining since " in waiting_in_words(long_reason, "4", DRAINING)
    reason = "ReqNodeNotAvail, May be reserved for other job"
    assert "(disk is dying)" in waiting_in_words(reason, "1", DRAINING)


def test_without_the_nodes_slurm_s_own_list_of_those_away_is_said() -> None:
    assert waiting_in_words("ReqNodeNotAvail, UnavailableNodes:node[2-3]", "4") == (
        "needs 4 nodes; away: node[2-3]"
    )
    assert waiting_in_words("Resources", "1") == (
        "needs 1 node, and waits until others' jobs leave them"
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "others come first"),
        ("Dependency", "the end of another job"),
        ("DependencyNeverSatisfied", "can never start; cancel it"),
        ("BeginTime", "before the time that was asked for"),
        ("PartitionTimeLimit", "shorter time_limit"),
        ("PartitionNodeLimit", "ask for fewer"),
        ("JobHeldUser", "scontrol release"),
        ("JobHeldAdmin", "who looks after the cluster"),
        ("QOSMaxCpuPerUserLimit", "more at once"),
        ("AssocGrpCpuLimit", "more at once"),
        ("AssocMaxJobsLimit", "as many jobs of yours"),
        ("QOSMaxJobsPerUserLimit", "as many jobs of yours"),
        ("JobArrayTaskLimit", "as many jobs of its array"),
        ("None", "not looked at it yet"),
        ("", "not looked at it yet"),
        ("MoonIsFull", "Slurm says: MoonIsFull"),
    ],
)
def test_reasons_are_plain_words(reason: str, words: str) -> None:
    assert words in waiting_in_words(reason, "1", NODES)


def test_every_reason_that_was_recorded_is_known() -> None:
    for name in ("queue_many_reasons.txt", "queue_draining.txt"):
        for line in (RECORDINGS / name).read_text().splitlines():
            _, state, reason, count, *_ = line.split("|")
            assert state != "PENDING" or "Slurm says" not in waiting_in_words(reason, count)


@pytest.mark.parametrize(("given_", "said"), REFUSALS, ids=lambda text: text[:24])
def test_every_refusal_that_was_recorded_has_a_remedy(given_: str, said: str) -> None:
    error = refused_in_words(said)
    assert "Slurm refuses it" not in str(error)
    assert str(error).isprintable()
    assert isinstance(error, Unreachable if "controller" in given_ else InvalidInput)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("sbatch: error: Memory specification can not be satisfied", "memory_per_rank_mb"),
        ("sbatch: error: Batch job submission failed: More processors requested than permitted",
         "resources.ranks"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "time_limit"),
        ("Invalid account or account/partition combination specified", "account"),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
         "limits"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(said: str, words: str) -> None:
    assert str(refused_in_words(said)).startswith(words) or words in str(refused_in_words(said))


@pytest.mark.parametrize("said", ["Unable to contact slurm controller (connect failure)",
                                  "Socket timed out on send/recv operation"])  # fmt: skip
def test_a_silent_controller_is_no_refusal(said: str) -> None:
    error = refused_in_words(f"sbatch: error: Batch job submission failed: {said}")
    assert isinstance(error, Unreachable)
    assert "beowulf jobs" in str(error)


def test_a_refusal_never_seen_is_said_as_it_is_without_what_says_nothing() -> None:
    error = refused_in_words("sbatch: error: Batch job submission failed: The moon is full\n")
    assert str(error) == "job: Slurm refuses it: The moon is full; look with: beowulf check"


@pytest.mark.parametrize(
    ("slurm", "ours", "exit_code"),
    [
        ("FAILED", "FAILED", 1),
        ("CANCELLED by 2001", "CANCELLED", 143),
        ("TIMEOUT", "TIMEOUT", 124),
        ("NODE_FAIL", "FAILED", 125),
        ("OUT_OF_MEMORY", "FAILED", 137),
        ("PREEMPTED", "CANCELLED", 143),
        ("BOOT_FAIL", "FAILED", 125),
        ("DEADLINE", "TIMEOUT", 124),
        ("CANCELLED+", "CANCELLED", 143),
        ("SUNG", "UNKNOWN", 125),
    ],
)
def test_ends_have_our_state_and_exit_status(slurm: str, ours: str, exit_code: int) -> None:
    state, reason, status = ended_in_words(slurm)
    assert (state, status) == (ours, exit_code)
    assert reason


def test_who_cancelled_and_which_nodes_were_lost_is_said() -> None:
    assert ended_in_words("CANCELLED by 2001")[1] == "cancelled by user 2001"
    assert "node[1-2]" in ended_in_words("NODE_FAIL", "node[1-2]")[1]


def test_slurm_s_word_alone_makes_no_job_completed() -> None:
    state, reason, _ = ended_in_words("COMPLETED")
    assert state == "FAILED"
    assert "never wrote" in reason


@given(st.text(), st.text())
def test_garbage_gives_printable_words_and_no_crash(one: str, two: str) -> None:
    assert waiting_in_words(one, two, NODES).isprintable()
    assert str(refused_in_words(one)).isprintable()
    state, reason, _ = ended_in_words(one, two)
    assert state in get_args(State)
    assert reason.isprintable()


@pytest.mark.parametrize(("name", "said"), REFUSALS)
def test_slurm_s_own_refusals_are_known_as_such(name: str, said: str) -> None:
    assert is_refusal(said) == (name != "controller away")


@pytest.mark.parametrize(
    "said",
    [
        "", "Zero Bytes were transmitted or received", "Transport endpoint is not connected",
        "Unable to contact slurm controller (connect failure)", "sbatch ended with status -9",
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Batch job submission failed: Unexpected message received",
    ],
)  # fmt: skip
def test_what_may_have_been_accepted_is_no_refusal(said: str) -> None:
    assert not is_refusal(said)

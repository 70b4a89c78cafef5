"""A job's story in plain words, and the stage it has reached, from events made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.job.story import MOST_TOLD, USUAL, stage_of, tell, why_recovering

TIME = "2026-11-25T14:02:{:02d}.000+00:00"
CLUSTER = {
    "event": "started", "attempt": 1, "ranks": 4, "hosts": ["head", "node1", "node2", "node3"],
    "slurm_job_id": 17,
}  # fmt: skip
HERE = {"event": "started", "attempt": 1, "ranks": 4}
LOST = {"event": "lost", "ranks": [3], "hosts": ["node3"], "step": 412, "attempt": 1}
CARRIED_ON = {
    "event": "carried_on", "ranks": [0, 1, 2], "hosts": ["head", "node1", "node2"],
    "step": 412, "lost_s": 4.08,
}  # fmt: skip
RESTARTING = {
    "event": "restarting", "attempt": 2, "why": "node1 stopped answering",
    "left_out": ["node1"], "step": 800,
}  # fmt: skip


def said(*events: dict[str, Any]) -> str:
    """Return what is said of the last of these events."""
    return tell(events)[-1].said


def stage(*names: str) -> str:
    return stage_of([{"event": name} for name in names])


def test_a_node_is_lost_and_the_others_carry_on() -> None:
    assert said(CLUSTER, LOST) == "node3 stopped answering (rank 3)"
    assert said(CARRIED_ON) == (
        "carried on with 3 ranks on head, node1, node2; step 412 redone; lost 4.1 s"
    )


def test_of_a_node_with_several_ranks_the_ranks_are_named() -> None:
    several = {**CLUSTER, "ranks": 8}
    assert said(several, {**LOST, "ranks": [6]}) == "rank 6 on node3 stopped answering"
    assert said(several, {**LOST, "ranks": [6, 7]}) == "ranks 6, 7 on node3 stopped answering"


def test_on_one_computer_there_is_no_node_to_name() -> None:
    assert said(HERE, {**LOST, "hosts": ["laptop"]}) == "rank 3 stopped answering"
    one = {**CARRIED_ON, "ranks": [0], "hosts": ["laptop"]}
    assert said(HERE, one) == "carried on with 1 rank on laptop; step 412 redone; lost 4.1 s"


def test_a_job_is_started_again_from_a_checkpoint_or_from_the_beginning() -> None:
    assert said(RESTARTING) == (
        "started again without node1, from the checkpoint after step 800 (attempt 2): "
        "node1 stopped answering"
    )
    bare = {"event": "restarting", "attempt": 3, "why": "", "left_out": [], "step": None}
    assert said(bare) == "started again, from the beginning (attempt 3)"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"event": "submitted", "name": "digits", "ranks": 4, "attempt": 1}, "submitted"),
        ({"event": "resubmitted", "attempt": 2}, "submitted again (attempt 2)"),
        (CLUSTER, "started 4 ranks on head, node1, node2, node3"),
        ({"event": "started", "attempt": 2, "ranks": 1}, "started 1 rank (attempt 2)"),
        ({"event": "running"}, "all ranks are up"),
        ({"event": "resumed", "step": 800}, "went on after step 800"),
        (
            {"event": "checkpoint_rejected", "checkpoint": "step-00000800", "why": "too short"},
            "the checkpoint after step 800 cannot be used: too short",
        ),
        (
            {"event": "checkpoint_failed", "step": 812, "why": "No space left on device"},
            "no checkpoint after step 812 could be written: No space left on device",
        ),
        ({"event": "planned", "said": ["averages as fp16", "x"]}, "planned: averages as fp16"),
        (
            {"event": "drill", "what": "kill", "rank": 3, "host": "node3", "step": 412},
            "drill: killed rank 3 on node3, at step 412",
        ),
        (
            {"event": "drill", "what": "freeze", "rank": 3, "host": "node3", "step": None},
            "drill: froze rank 3 on node3",
        ),
        (
            {"event": "drill", "what": "cut", "rank": 3, "host": "node3", "step": 9},
            "drill: cut node3 off, at step 9",
        ),
        ({"event": "ended", "state": "COMPLETED", "reason": ""}, "ended COMPLETED"),
        (
            {"event": "ended", "state": "FAILED", "reason": "rank 1 on node1 failed: E"},
            "ended FAILED: rank 1 on node1 failed: E",
        ),
        ({"event": "joined_by_a_cat"}, "joined by a cat"),
        ({}, "None"),
    ],
)
def test_every_event_has_its_words(event: dict[str, Any], words: str) -> None:
    assert said(event) == words
    assert tell([event])[0].usual == (event.get("event") in USUAL)


def test_the_story_stands_in_the_order_of_time() -> None:
    events = [
        {**CLUSTER, "time": TIME.format(1)},
        {**LOST, "time": TIME.format(9)},
        {"event": "drill", "what": "kill", "rank": 3, "host": "node3", "time": TIME.format(5)},
    ]
    assert [told.said for told in tell(events)][1:] == [
        "drill: killed rank 3 on node3", "node3 stopped answering (rank 3)",
    ]  # fmt: skip
    assert [told.time for told in tell(events)] == [TIME.format(n) for n in (1, 5, 9)]


def test_of_an_endless_story_the_newest_is_kept() -> None:
    story = tell([{"event": "running", "time": TIME.format(1)}] * (MOST_TOLD + 7))
    assert len(story) == MOST_TOLD


def test_what_events_hold_cannot_command_a_terminal_or_fill_it() -> None:
    told = said({"event": "ended", "state": "FAILED", "reason": "\x1b[2J\nroot" + "x" * 9999})
    assert told.isprintable()
    assert len(told) == 300
    many = said(CLUSTER, {**LOST, "hosts": [f"n{n}" for n in range(20)], "ranks": list(range(20))})
    assert "n7 and 12 more stopped answering (ranks 0, 1" in many


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([
    "submitted", "resubmitted", "started", "running", "resumed", "checkpoint_rejected",
    "checkpoint_failed", "planned", "lost", "carried_on", "restarting", "drill", "ended",
])  # fmt: skip
FIELDS = st.sampled_from([
    "ranks", "hosts", "step", "lost_s", "attempt", "why", "left_out", "what", "rank", "host",
    "said", "state", "reason", "checkpoint", "time",
])  # fmt: skip


@given(st.lists(st.builds(lambda n, f: {**f, "event": n}, NAMES, st.dictionaries(FIELDS, JSON))))
def test_damaged_events_are_told_somehow(events: list[dict[str, Any]]) -> None:
    assert len(tell(events)) == len(events)
    assert all(told.said.isprintable() for told in tell(events))
    stage_of(events)
    why_recovering(events)


# --- The stage ------------------------------------------------------------------------------


def test_a_job_recovers_from_a_loss_until_it_carries_on() -> None:
    begun = ("submitted", "started", "running")
    assert stage(*begun, "lost") == "RECOVERING"
    assert stage(*begun, "drill", "lost", "drill") == "RECOVERING"
    assert stage(*begun, "lost", "carried_on") == "RUNNING"
    assert stage(*begun, "lost", "carried_on", "lost") == "RECOVERING"


def test_a_job_that_is_started_again_recovers_until_all_its_ranks_are_there() -> None:
    begun = ("submitted", "started", "running", "lost", "restarting")
    assert stage(*begun) == "RECOVERING"
    assert stage(*begun, "started") == "RECOVERING"
    assert stage(*begun, "started", "running") == "RUNNING"
    assert stage(*begun, "started", "running", "resubmitted", "started") == "STARTING"


def test_why_a_job_recovers_is_its_last_loss() -> None:
    assert why_recovering([CLUSTER, LOST]) == "node3 stopped answering (rank 3)"
    assert why_recovering([CLUSTER, LOST, RESTARTING]).startswith("started again without node1")
    assert why_recovering([CLUSTER]) == ""

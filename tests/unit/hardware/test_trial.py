"""The job on every free node: what real nodes answered, and what would be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.hardware.findings import Finding
from beowulf.hardware.trial import judge_trials, parse_trials, try_nodes
from beowulf.transport.fake import Answer, Call, FakeConnection
from tests.unit.hardware.recorded import TRIAL, TRIAL_TOKEN

NAMES = ["head", "node1", "node2", "node3"]


def judged(told: str, errors: str = "") -> dict[str, Finding]:
    findings = judge_trials(parse_trials(told), NAMES, TRIAL_TOKEN, errors)
    return dict(zip(NAMES, findings, strict=True))


def test_nodes_that_agree_are_good() -> None:
    assert all(finding.is_good for finding in judged(TRIAL).values())


def line_of(name: str) -> str:
    return next(line for line in TRIAL.splitlines() if line.startswith(f"node|{name}|"))


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (TRIAL_TOKEN, "cat: /home/ada/x: Stale file handle", "Stale file handle"),
        ("openmpi-bin=5.0.7-1", "openmpi-bin=4.1.4-1",
         "openmpi-bin 4.1.4-1 where others have 5.0.7-1"),
        ("openmpi-bin=5.0.7-1 ", "", "openmpi-bin none where others have 5.0.7-1"),
        ("libraries=", "libraries=1", "libraries 1"),
    ],
)  # fmt: skip
def test_the_node_that_differs_is_named(right: str, wrong: str, words: str) -> None:
    line = line_of("node2")
    assert right in line
    found = judged(TRIAL.replace(line, line.replace(right, wrong)))
    assert found["node2"].is_good is False
    assert words in found["node2"].words
    assert found["node2"].remedy
    assert all(found[name].is_good for name in NAMES if name != "node2")


@pytest.mark.parametrize(("wrong_s", "is_good"), [(0.9, True), (-0.9, True), (2, False),
                                                  (-2, False)])  # fmt: skip
def test_a_clock_may_be_wrong_by_a_second(wrong_s: float, is_good: bool) -> None:
    node, name, token, before, server, after, software = line_of("node3").split("|", 6)
    times = (f"{float(before) + wrong_s:.6f}", server, f"{float(after) + wrong_s:.6f}")
    line = "|".join([node, name, token, *times, software])
    finding = judged(TRIAL.replace(line_of("node3"), line))["node3"]
    assert finding.is_good is is_good
    assert is_good or "chronyc" in finding.remedy


def test_a_node_that_says_nothing_is_named_with_what_slurm_said() -> None:
    found = judged(TRIAL.replace(line_of("node1"), ""), "srun: error: Task launch failed\n")
    assert found["node1"].words == "node1 ran nothing: srun: error: Task launch failed"


def test_nodes_taken_meanwhile_are_no_fault() -> None:
    said = "srun: error: Unable to allocate resources: Requested nodes are busy\n"
    (finding,) = try_nodes(FakeConnection([Answer(status=1, errors=said)]), NAMES)
    assert finding.is_good is None


def test_without_a_free_node_nothing_is_run() -> None:
    connection = FakeConnection([])
    (finding,) = try_nodes(connection, [])
    assert finding.is_good is None
    assert connection.calls == []


def test_the_nodes_and_a_fresh_word_travel_as_arguments() -> None:
    def answer(call: Call) -> Answer:
        assert call.arguments[5:7] == (",".join(NAMES), "4")
        return Answer(TRIAL.replace(TRIAL_TOKEN, call.arguments[4]).encode())

    assert all(finding.is_good for finding in try_nodes(FakeConnection(answer), NAMES))


@given(st.text())
def test_garbage_is_survived(text: str) -> None:
    assert set(judged(text)) == set(NAMES)
    assert set(judged(TRIAL + text)) == set(NAMES)


@given(st.lists(st.text(), min_size=5, max_size=5))
def test_garbage_in_the_fields_is_survived(fields: list[str]) -> None:
    for finding in judged("|".join(["node", "head", *fields]), "\n").values():
        assert finding.words.isprintable()

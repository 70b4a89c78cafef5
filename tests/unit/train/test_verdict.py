"""What is said of a plan names who trains, who rests, and what it would cost otherwise."""

from __future__ import annotations

from dataclasses import replace

from beowulf.train.plan import DENSE, choose, offers, predict
from beowulf.train.verdict import words_of
from tests.unit.train.test_plan import MBIT_100, MBIT_1000, survey_of

HOSTS = ("node1", "node2", "node3", "node4")


def said_of(speeds: tuple[float, ...], rates: tuple[float, ...], size: float) -> tuple[str, ...]:
    survey = survey_of(speeds, rates, size)
    plan = choose(survey)
    usual = predict(survey, range(len(speeds)), DENSE)
    return words_of(survey, plan, usual, offers(survey, plan), HOSTS)


def test_who_trains_alone_is_named_and_so_are_those_who_rest() -> None:
    first, second, *_ = said_of((84, 42, 21), (MBIT_100,) * 3, 25e6)
    assert first == "beowulf: node1 trains alone: a step should take 1 s"
    assert second.startswith("beowulf: node2 and node3 rest: a step takes 1 s without, 3.")


def test_one_that_rests_is_told_in_the_singular() -> None:
    rates = (MBIT_1000, MBIT_1000, MBIT_1000, MBIT_100 / 10)
    first, second, *_ = said_of((50, 50, 50, 10), rates, 25e6)
    assert first.startswith("beowulf: node1, node2 and node3 by dense: a step should take ")
    assert second.startswith("beowulf: node4 rests: ")
    assert second.endswith(" with it")


def test_what_limits_a_step_is_said_and_overlap() -> None:
    survey = replace(survey_of((9, 9), (MBIT_1000,) * 2), hidden=1.0)
    plan = choose(survey)
    (line,) = words_of(survey, plan, plan, [], HOSTS)
    assert line.startswith("beowulf: node1 and node2 by dense with overlap: ")
    assert line.endswith("; compute limits it")


def test_a_gain_is_told_with_what_it_changes() -> None:
    survey = survey_of((9, 9), (MBIT_1000,) * 2)
    plan = choose(survey)
    *_, last = words_of(survey, plan, plan, [("fp16", 1.62)], HOSTS)
    assert "averaging='fp16' would make a step about 1.6 times as fast" in last
    assert "rounds gradients to 11 bits" in last

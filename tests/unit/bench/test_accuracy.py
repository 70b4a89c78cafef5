"""A strategy is judged by the time until it is good enough, not by that of a step."""

from __future__ import annotations

import pytest

from bench.accuracy import BY_HAND, report, seconds_per_step, steps_to


def test_a_target_is_reached_the_first_time_or_never() -> None:
    assert steps_to(0.9, [(2, 0.5), (4, 0.9), (6, 0.8), (8, 0.9)]) == 4
    assert steps_to(0.9, [(2, 0.5)]) == float("inf")


def test_steps_are_timed_by_the_case_that_comes_first() -> None:
    times = {
        "cases": {
            "4 : 2 : 1, 25 MB, 100mbit": {"seconds": {"dense": [3.0, 1.0, 2.0]}},
            "local steps, 25 MB, 100mbit": {"seconds": {"dense": [9.0], "diloco": [1.0]}},
        }
    }
    assert seconds_per_step(times) == {"dense": 2.0, "diloco": 1.0}


@pytest.mark.parametrize(("steps", "factor", "word"), [(1, "4.00", "meets"), (2, "2.00", "MISSES")])
def test_faster_steps_count_for_less_if_more_of_them_are_needed(
    steps: int, factor: str, word: str
) -> None:
    good, bad = [(1, 0.97)], [(1, 0.96)]
    found = {BY_HAND: [good], "dense": [good], "new": [[(steps, 0.97)]], "bad": [bad]}
    told = report(found, {BY_HAND: 4.0, "dense": 5.0, "new": 1.0, "bad": 0.1})
    assert f"new is {factor} times as fast: {word}" in told.verdict
    assert [row[4] for row in told.table.rows] == ["1.00", "0.80", factor, "40.00"]

"""What is told of a rank's speed from a few noisy steps."""

from __future__ import annotations

import math

import pytest

from beowulf.train.pace import CHANGE_STEPS, WINDOW_STEPS, Pace


def seen(pace: Pace, samples: int, *times: float) -> list[bool]:
    return [pace.see(samples, seconds, step_s=1.0) for seconds in times]


def test_three_steps_are_enough_and_two_are_not() -> None:
    pace = Pace(10)
    seen(pace, 10, 1.0, 1.0)
    assert pace.estimate() == math.inf
    assert pace.per_sample_s == 0
    seen(pace, 10, 1.0)
    assert pace.estimate() < 0.1
    assert pace.per_sample_s == pytest.approx(0.1)


def test_a_slow_step_counts_for_nothing() -> None:
    pace = Pace(10)
    seen(pace, 10, 50.0, 1.0, 1.0)
    pace.estimate()
    assert pace.per_sample_s == pytest.approx(0.1)


def test_the_error_shrinks_with_the_steps_and_grows_with_their_differences() -> None:
    def error(steps: int, difference: float) -> float:
        pace = Pace(10)
        seen(pace, 10, *[1.0 + difference * (step * 7 % 61 - 30) for step in range(steps)])
        return pace.estimate()

    assert error(9, 0.01) > error(60, 0.01) > 0
    assert error(60, 0.02) > error(60, 0.005)


def test_what_a_step_costs_besides_is_told_from_two_shares() -> None:
    pace = Pace(20)
    seen(pace, 20, *[5 + 20 * 0.5] * 3)  # 5 seconds, and half a second per sample
    pace.estimate()
    pace.expect(10)
    seen(pace, 10, *[5 + 10 * 0.5] * 3)
    pace.estimate()
    assert pace.per_sample_s == pytest.approx(0.5)
    assert pace.overhead == pytest.approx(10)
    assert pace.compute_s(40) == pytest.approx(25)
    assert pace.compute_s(0) == 0


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_three_odd_steps_in_a_row_are_a_change(factor: float) -> None:
    pace = Pace(10)
    seen(pace, 10, *[1.0] * 20)
    pace.estimate()
    assert seen(pace, 10, factor, factor, 1.0, factor, factor) == [False] * 5
    assert seen(pace, 10, factor) == [True]
    pace.estimate()
    assert pace.per_sample_s == pytest.approx(factor / 10)


def test_too_slow_and_too_fast_by_turns_are_no_change() -> None:
    pace = Pace(10)
    seen(pace, 10, *[1.0] * 20)
    pace.estimate()
    assert not any(seen(pace, 10, *[2.0, 0.5] * 10))


def test_a_change_lasts_a_while() -> None:
    pace = Pace(10)
    for _ in range(20):
        pace.see(10, 0.001, 0.001)
    pace.estimate()
    changes = [pace.see(10, 0.002, 0.002) for _ in range(200)]
    assert 100 < changes.index(True) < 130  # a quarter of a second


def test_where_steps_differ_much_it_takes_more_of_them() -> None:
    pace = Pace(10)
    seen(pace, 10, *[1.0, 1.0, 1.0, 4.0, 1.0, 0.2] * 10)
    pace.estimate()
    assert not any(seen(pace, 10, *[5.0] * (2 * CHANGE_STEPS)))
    assert any(seen(pace, 10, *[5.0] * WINDOW_STEPS))


def test_another_share_proves_no_change_of_speed() -> None:
    pace = Pace(100)
    seen(pace, 100, *[1.0] * 20)
    pace.estimate()
    pace.expect(10)
    assert not any(seen(pace, 10, *[0.9] * CHANGE_STEPS))  # it costs as much, however small
    pace.estimate()
    assert pace.compute_s(10) == pytest.approx(0.9)
    assert pace.compute_s(100) == pytest.approx(1.0)

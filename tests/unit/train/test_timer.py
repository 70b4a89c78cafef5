"""A rank's computing is told from its waiting."""

from __future__ import annotations

import time

import pytest

from beowulf.train.timer import StepTimer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that shows its one element, in nanoseconds."""
    now = [1_000]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    return now


def step(timer: StepTimer, clock: list[int], before: int, waiting: int, after: int) -> float:
    timer.begin()
    clock[0] += before
    computed_s = timer.stop_computing()
    clock[0] += waiting
    timer.go_on_computing()
    clock[0] += after
    timer.rest()
    assert timer.end() == before + waiting + after
    return computed_s


def test_computing_reaches_from_one_averaging_to_the_next(clock: list[int]) -> None:
    timer = StepTimer()
    assert step(timer, clock, before=100, waiting=1_000, after=10) == pytest.approx(100e-9)
    clock[0] += 50_000  # ranks that train apart meet, and a checkpoint is written
    assert step(timer, clock, before=200, waiting=3_000, after=20) == pytest.approx(210e-9)


def test_the_wire_is_what_the_last_rank_waits_for(clock: list[int]) -> None:
    timer = StepTimer()
    step(timer, clock, before=100_000, waiting=1_000, after=10_000)
    assert timer.wire_s([100e-6, 90e-6]) is None  # there is nothing to measure it from
    clock[0] += 5_000
    step(timer, clock, before=200_000, waiting=300_000, after=20_000)
    # From averaging to averaging it took 10 + 5 + 200 + 300 microseconds.
    assert timer.wire_s([210e-6, 400e-6]) == pytest.approx(115e-6)
    assert timer.wire_s([210e-6, 100e-6]) == pytest.approx(300e-6)
    assert timer.wire_s([210e-6, 900e-6]) == 0
    assert timer.wire_s([210e-6]) is None  # alone


def test_a_step_may_average_by_parts(clock: list[int]) -> None:
    timer = StepTimer()
    timer.begin()
    clock[0] += 100
    assert timer.stop_computing() == pytest.approx(100e-9)
    clock[0] += 1_000
    timer.go_on_computing()
    clock[0] += 30
    assert timer.stop_computing() == pytest.approx(30e-9)
    clock[0] += 1_000
    timer.go_on_computing()
    assert timer.end() == 2_130


def test_a_step_that_does_not_average_leaves_nothing_behind(clock: list[int]) -> None:
    timer = StepTimer()
    step(timer, clock, before=100, waiting=1_000, after=10)
    timer.begin()
    clock[0] += 70_000
    timer.rest()
    assert timer.end() == 70_000
    assert timer.wire_s([1e-9, 1e-9]) is None
    assert step(timer, clock, before=100, waiting=1_000, after=10) == pytest.approx(100e-9)
    assert timer.wire_s([1e-9, 1e-9]) is None

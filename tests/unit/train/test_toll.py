"""What a checkpoint costs is what steps take longer for it."""

from __future__ import annotations

import pytest

from beowulf.train.toll import CHECKPOINTS, Toll


class Steps:
    def __init__(self) -> None:
        self.toll = Toll()
        self.now = 100.0
        self.toll.see(self.now, is_writing=False)

    def take(self, *seconds: float, is_writing: bool = False) -> None:
        for each in seconds:
            self.now += each
            self.toll.see(self.now, is_writing=is_writing)


def test_nothing_is_known_before_a_checkpoint() -> None:
    steps = Steps()
    steps.take(1.0, 1.0)
    assert steps.toll.cost_s == 0.0


def test_copying_and_slower_steps_count() -> None:
    steps = Steps()
    steps.take(1.0, 1.0, 5.0)  # one was disturbed by something else
    steps.toll.begin(0.2)
    steps.take(1.5, 1.25, is_writing=True)
    steps.take(1.125)
    steps.take(9.0)  # this has nothing to do with it any more
    assert steps.toll.cost_s == pytest.approx(0.875)


def test_noise_cancels_out() -> None:
    steps = Steps()
    steps.take(*[1.0] * 5)
    for extra in (0.3, -0.2, 0.1, -0.2):
        steps.toll.begin(0.0)
        steps.take(1.0 + extra)
        steps.take(*[1.0] * 5)
    assert steps.toll.cost_s == pytest.approx(0.0, abs=1e-9)


def test_a_checkpoint_long_ago_is_forgotten() -> None:
    steps = Steps()
    steps.take(1.0, 1.0)
    for extra in (50.0, *[0.5] * CHECKPOINTS):
        steps.toll.begin(0.0)
        steps.take(1.0 + extra, 1.0)
    assert steps.toll.cost_s == pytest.approx(0.5)


def test_without_steps_before_it_the_copy_is_what_is_known() -> None:
    steps = Steps()
    steps.toll.begin(0.25)
    steps.take(3.0)
    assert steps.toll.cost_s == 0.25


def test_what_comes_between_two_loops_is_no_step() -> None:
    steps = Steps()
    steps.take(1.0, 1.0)
    steps.toll.begin(0.0)
    steps.toll.pause()
    steps.now += 1000.0
    steps.take(0.0, 1.5)
    assert steps.toll.cost_s == pytest.approx(0.5, abs=1.01)

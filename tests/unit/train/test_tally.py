"""The result says what was counted, and nothing of steps where there were none."""

from __future__ import annotations

import pytest

from beowulf.train.tally import Tally


def test_a_run_without_steps_has_nothing_to_say() -> None:
    assert Tally(planned={"plan": "dense"}).result() == {}


def test_speed_is_that_of_this_attempt_s_steps_alone() -> None:
    tally = Tally(steps=100, samples=640, training_s=2.0, loss=0.5, planned={"plan": "dense"})
    assert tally.result() == {
        "final_loss": 0.5,
        "steps": 100,
        "samples_per_s": pytest.approx(320.0),
        "plan": "dense",
    }


def test_a_run_that_was_over_before_has_no_speed() -> None:
    assert Tally(steps=100, loss=0.5).result()["samples_per_s"] is None


def test_counts_are_each_rank_s_own() -> None:
    Tally().planned["plan"] = "dense"
    assert Tally().planned == {}

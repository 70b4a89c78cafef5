"""How often a job is disturbed is counted from its story."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beowulf.job.failures import ASSUMED_S, Disturbances, disturbances

BEGIN = datetime(2026, 11, 25, 14, 0, tzinfo=UTC)


def event(name: str, minute: float) -> dict[str, Any]:
    return {"time": (BEGIN + timedelta(minutes=minute)).isoformat(), "event": name}


def counted(*events: dict[str, Any], now: float = 60.0) -> tuple[int, float]:
    found = disturbances(events, BEGIN + timedelta(minutes=now))
    return found.failures, found.trained_s / 60


def test_a_job_without_a_story() -> None:
    assert counted() == (0, 0.0)
    assert Disturbances().between_s == ASSUMED_S


def test_an_undisturbed_job() -> None:
    assert counted(event("submitted", 0), event("started", 10), event("running", 11)) == (0, 50.0)


def test_losses_and_restarts_count_and_training_goes_on() -> None:
    story = [event("started", 0), event("lost", 5), event("carried_on", 6), event("restarting", 9),
             event("started", 10), event("lost", 30)]  # fmt: skip
    assert counted(*story) == (3, 60.0)


def test_drills_do_not_count() -> None:
    story = [event("started", 0), event("drill", 5), event("lost", 6), event("lost", 30)]
    assert counted(*story) == (1, 60.0)


def test_time_between_two_attempts_does_not_count() -> None:
    story = [
        event("started", 0),
        event("ended", 20),
        event("resubmitted", 40),
        event("started", 50),
    ]
    assert counted(*story) == (0, 30.0)


def test_an_attempt_whose_end_nobody_wrote_ended_by_a_failure() -> None:
    story = [event("started", 0), event("running", 5), event("resubmitted", 40),
             event("started", 50)]  # fmt: skip
    assert counted(*story) == (1, 15.0)


@pytest.mark.parametrize("time", [None, 7, "yesterday", ""])
def test_damaged_events_are_passed_over(time: Any) -> None:
    assert counted({"time": time, "event": "lost"}, {"event": "lost"}, event("lost", 1)) == (1, 0.0)


def test_what_is_seen_replaces_little_by_little_what_is_assumed() -> None:
    assert Disturbances(0, ASSUMED_S).between_s == 2 * ASSUMED_S
    assert Disturbances(9, ASSUMED_S).between_s == ASSUMED_S / 5

"""How far a node is trusted over the weeks, by a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.job.trust import (
    DAY_S,
    FORGOTTEN_S,
    HOUR_S,
    NodeHistory,
    Trust,
    left_out_until,
    merged,
    trust_in,
)

NOW = datetime(2026, 11, 25, 15, 0, tzinfo=UTC).timestamp()
Span = tuple[float, float]


def trust(
    *hours_ago: float, served: tuple[Span, ...] = (), trusted_at: float | None = None
) -> Trust:
    """Return the trust in a node that was lost these hours ago."""
    losses = tuple(NOW - hours * HOUR_S for hours in hours_ago)
    return trust_in("node3", NodeHistory(losses, served, trusted_at), NOW)


def working(days: float) -> tuple[Span, ...]:
    return ((NOW - days * DAY_S, NOW),)


# --- The score ------------------------------------------------------------------------------


def test_a_node_that_was_never_lost_is_trusted_fully() -> None:
    assert trust() == Trust("node3", 100, 0, "", None, None)
    assert trust(served=working(10)).per_cent == 100


def test_losses_cost_trust_and_time_brings_it_back() -> None:
    assert [trust(age).per_cent for age in (0.1, 7 * 24, 14 * 24, 29 * 24)] == [87, 93, 96, 100]
    assert trust(1, 2).per_cent < trust(1).per_cent
    assert trust(1, 2, 3).per_cent == 65


def test_a_node_that_served_long_is_forgiven_more_than_a_new_one() -> None:
    assert trust(1, 2, 3, served=working(14)).per_cent == 82
    assert trust(1, 2, 3, served=working(0.1)).per_cent == 66


def test_service_long_ago_counts_less() -> None:
    long_ago = ((NOW - 28 * DAY_S, NOW - 21 * DAY_S),)
    assert trust(1, served=long_ago).per_cent < trust(1, served=working(7)).per_cent


def test_two_jobs_at_once_are_no_more_service_than_one() -> None:
    assert merged([(5, 9), (1, 3), (2, 6), (20, 20), (11, 12)]) == [(1, 9), (11, 12)]


def test_a_loss_that_several_noticed_counts_once() -> None:
    minute = 1 / 60
    assert trust(2, 2 - minute, 2 - 3 * minute).losses == 1
    assert trust(2, 1.5).losses == 2


@pytest.mark.parametrize(
    ("hours_ago", "why"),
    [
        ((1,), "lost once in 24 hours"),
        ((1, 2), "lost twice in 24 hours"),
        ((1, 5, 30), "lost 3 times in 7 days"),
        ((1, 200), "lost twice in 28 days"),
        ((FORGOTTEN_S / HOUR_S + 1,), ""),
    ],
)
def test_why_is_told_in_words(hours_ago: tuple[float, ...], why: str) -> None:
    assert trust(*hours_ago).why == why


def test_the_last_loss_is_told() -> None:
    assert trust(1, 2).last_lost_at == "2026-11-25T14:00:00+00:00"


# --- Left out -------------------------------------------------------------------------------


def hours_left_out(*losses_at_hour: float) -> float:
    """Return at which hour a node comes back that was lost at these."""
    return left_out_until([hour * HOUR_S for hour in losses_at_hour]) / HOUR_S


def test_two_losses_in_a_day_keep_nobody_away_and_three_do_for_an_hour() -> None:
    assert hours_left_out(100, 101) == 0
    assert hours_left_out(100, 101, 102) == 103
    assert hours_left_out(100, 110, 125) == 0


def test_each_further_loss_doubles_it_up_to_a_day() -> None:
    losses = [float(hour) for hour in range(100, 109)]
    lengths = [hours_left_out(*losses[: count + 1]) - losses[count] for count in range(2, 9)]
    assert lengths == [1, 2, 4, 8, 16, 24, 24]


def test_a_calm_week_makes_the_next_one_short_again() -> None:
    first = (100, 101, 102, 103)  # away until 105
    assert hours_left_out(*first, 150, 151, 152) == 156
    later = 105 + 7 * 24 + 1
    assert hours_left_out(*first, later, later + 1, later + 2) == later + 3


def test_it_ends_by_time() -> None:
    assert trust(3, 2, 0.5).left_out_until == "2026-11-25T15:30:00+00:00"
    assert trust(5, 4, 3).left_out_until is None


def test_it_ends_by_hand_and_what_was_before_counts_no_more() -> None:
    assert trust(3, 2, 0.5, trusted_at=NOW - 60) == Trust("node3")
    again = trust(3, 2, 0.5, trusted_at=NOW - 1.5 * HOUR_S)
    assert (again.losses, again.left_out_until) == (1, None)


def test_a_clock_that_was_ahead_brings_no_losses_from_the_future() -> None:
    assert trust(-5, -6, -7) == Trust("node3")


@given(st.lists(st.floats(0, 1e10), max_size=8), st.lists(st.tuples(st.floats(0, 1e10),
       st.floats(0, 1e10)), max_size=4))  # fmt: skip
def test_trust_is_always_a_per_cent(losses: list[float], served: list[Span]) -> None:
    found = trust_in("n", NodeHistory(tuple(losses), tuple(served)), NOW)
    assert 0 <= found.per_cent <= 100
    assert Trust.from_json(found.to_json()) == found

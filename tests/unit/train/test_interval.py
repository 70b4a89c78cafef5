"""Saving costs as much as what is done again, unless others would suffer from it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.train.interval import LEAST_S, interval_s

DAY_S = 86_400.0
COSTS = st.floats(1e-6, 1e6)
TIMES = st.floats(1.0, 1e8)


def loss(interval: float, cost: float, between: float) -> float:
    """Return the part of the time that saving and doing again take."""
    return cost / interval + interval / (2 * between)


@pytest.mark.parametrize(
    ("cost", "between", "best"),
    [(0.1, DAY_S, 131.45), (1.0, DAY_S, 415.69), (0.01, DAY_S, 41.57), (1.0, 3600.0, 84.85)],
)
def test_known_values(cost: float, between: float, best: float) -> None:
    assert interval_s(cost, between) == pytest.approx(best, abs=0.01)


@given(COSTS, TIMES, st.floats(0.1, 10.0))
def test_no_other_interval_loses_less(cost: float, between: float, factor: float) -> None:
    best = math.sqrt(2 * cost * between)
    if LEAST_S < best < between:
        found = interval_s(cost, between)
        assert loss(found, cost, between) <= loss(found * factor, cost, between) * (1 + 1e-9)


@given(st.floats(0.0, 1e6), TIMES)
def test_bounds(cost: float, between: float) -> None:
    assert LEAST_S <= interval_s(cost, between) <= max(LEAST_S, between)

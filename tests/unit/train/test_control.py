"""What ranks tell each other arrives exactly, in whatever type it travels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.train.control import hear, room, tell

LOSSES = st.lists(st.floats(-1e30, 1e30, allow_subnormal=False), min_size=1, max_size=4)


def added_up(dtype: type[np.floating], losses: list[float], extra: int = 0) -> np.ndarray:
    """Return the sum of what all ranks tell, as an all-reduce gives it."""
    size = len(losses)
    total = np.zeros(room(size, extra), dtype)
    for rank, loss in enumerate(losses):
        vector = np.full(room(size, extra), np.nan, dtype)  # nothing old may shine through
        tell(vector, rank, size, loss, rank + 0.5)[...] = rank + 1
        total += vector
    return total


@given(losses=LOSSES)
def test_the_losses_are_added_in_the_order_of_ranks_exactly(losses: list[float]) -> None:
    expected = 0.0
    for loss in losses:
        expected += loss
    assert hear(added_up(np.float64, losses), len(losses)).loss_sum == expected


@given(losses=st.lists(st.floats(1e-20, 1e30), min_size=1, max_size=4))
def test_float32_carries_a_float64_in_three_pieces(losses: list[float]) -> None:
    found = hear(added_up(np.float32, losses), len(losses)).loss_sum
    assert found == hear(added_up(np.float64, losses), len(losses)).loss_sum


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan])
def test_a_loss_that_is_no_number_stays_so(loss: float) -> None:
    found = hear(added_up(np.float32, [1.0, loss]), 2).loss_sum
    assert found == loss or (math.isnan(loss) and math.isnan(found))


def test_each_ranks_seconds_are_heard_and_extra_numbers_are_added_up() -> None:
    total = added_up(np.float32, [1.0, 2.0, 3.0], extra=2)
    assert hear(total, 3).compute_s == (0.5, 1.5, 2.5)
    assert total[-2:].tolist() == [6.0, 6.0]

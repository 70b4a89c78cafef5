"""Sixteen bits hold what they say, however large or small the numbers are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.train.arena import Arena
from beowulf.train.wires import Half, scale_exponent

NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50)


def through_a_message(values: np.ndarray) -> np.ndarray:
    wire, arena = Half(), Arena()
    message = wire.encode(values, arena)
    assert message.nbytes == 2 * values.size + 2
    result = np.empty_like(values)
    wire.decode(message, result)
    total = np.ones_like(values)
    wire.add(message, total, arena)
    np.testing.assert_array_equal(total, result + 1)
    return result


@given(numbers=NUMBERS, power=st.integers(-130, 120), wide=st.booleans())
def test_each_number_is_off_by_a_2048th_or_by_a_tiny_bit_of_the_largest(
    numbers: list[float], power: int, wide: bool
) -> None:
    values = np.array(numbers, np.float64) * 2.0**power
    values = values if wide else values.astype(np.float32)
    found = through_a_message(values)
    largest = np.abs(values).max()
    bound = np.maximum(np.abs(values) * 2.0**-11, float(largest) * 2.0**-39)
    smallest = 2.0 ** (-126 - 25)  # below that there is nothing to keep in float32
    assert (np.abs(found.astype(np.float64) - values) <= bound + smallest).all()


@given(numbers=st.lists(st.integers(-2048, 2048), min_size=1), power=st.integers(-60, 60))
def test_numbers_of_eleven_bits_arrive_as_they_are(numbers: list[int], power: int) -> None:
    values = np.array(numbers, np.float32) * np.float32(2.0**power)
    np.testing.assert_array_equal(through_a_message(values), values)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    found = through_a_message(np.array([1.0, bad, 0.0], np.float32))
    np.testing.assert_array_equal(found, [1.0, bad, 0.0])


def test_the_scale_is_within_what_float32_holds() -> None:
    assert scale_exponent(0.0) == scale_exponent(math.inf) == 0
    assert scale_exponent(1.0) == 14
    assert scale_exponent(5e-324) == 126
    assert scale_exponent(1e308) == -126

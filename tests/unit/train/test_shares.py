"""Shares add up, follow the weights, and are the same on every rank."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from beowulf.errors import TrainingError
from beowulf.train.shares import check_weights, parse_shares, part_of, split

SAMPLES = st.integers(0, 10_000) | st.integers(0, 10**14)
ORDINARY = st.lists(
    st.just(0.0) | st.floats(0.001, 1000.0) | st.integers(0, 9).map(float), min_size=1, max_size=12
)
EXTREME = st.lists(
    st.floats(0.0, allow_infinity=False)
    | st.sampled_from([0.0, 5e-324, 1e-300, 1.0, 1e300, 1.7976931348623157e308]),
    min_size=1,
    max_size=12,
)
WEIGHTS = (ORDINARY | EXTREME).filter(any)


@given(SAMPLES, WEIGHTS)
def test_shares_add_up_and_none_is_negative(samples: int, weights: list[float]) -> None:
    shares = split(samples, weights)
    assert len(shares) == len(weights)
    assert sum(shares) == samples
    assert min(shares) >= 0
    assert all(type(share) is int for share in shares)


@given(SAMPLES, WEIGHTS)
def test_each_share_differs_from_the_exact_one_by_less_than_one(
    samples: int, weights: list[float]
) -> None:
    total = sum(map(Fraction, weights))
    for share, weight in zip(split(samples, weights), weights, strict=True):
        exact = samples * Fraction(weight) / total
        assert abs(share - exact) < 1


@given(SAMPLES, WEIGHTS)
def test_a_weight_of_zero_gives_an_empty_share(samples: int, weights: list[float]) -> None:
    for share, weight in zip(split(samples, weights), weights, strict=True):
        assert weight > 0 or share == 0


@given(SAMPLES, WEIGHTS)
def test_the_same_numbers_give_the_same_shares(samples: int, weights: list[float]) -> None:
    assert split(samples, weights) == split(samples, tuple(weights))


@given(SAMPLES, ORDINARY.filter(any), st.sampled_from([0.5, 2.0, 1024.0]))
def test_only_proportions_count(samples: int, weights: list[float], factor: float) -> None:
    assert split(samples, [weight * factor for weight in weights]) == split(samples, weights)


@given(SAMPLES, WEIGHTS)
def test_more_weight_never_means_a_smaller_share(samples: int, weights: list[float]) -> None:
    pairs = sorted(zip(weights, split(samples, weights), strict=True))
    for (lighter, less), (heavier, more) in itertools.pairwise(pairs):
        assert less <= more or lighter == heavier


@given(st.integers(0, 10**6), st.integers(1, 64))
def test_equal_weights_give_shares_that_differ_by_one_at_most(samples: int, ranks: int) -> None:
    shares = split(samples, [1.0] * ranks)
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("samples", "weights", "shares"),
    [
        (64, [1.0], [64]),
        (64, [1, 1, 1, 1], [16, 16, 16, 16]),
        (64, [5, 2, 1, 0], [40, 16, 8, 0]),
        (10, [1, 1, 1], [4, 3, 3]),
        (2, [1, 1, 1, 1], [1, 1, 0, 0]),
        (0, [3, 1], [0, 0]),
        (1, [0.1, 0.9], [0, 1]),
        (7, [0, 1, 0], [0, 7, 0]),
        (100, [1e-300, 1e300], [0, 100]),
        (10, [5e-324, 5e-324], [5, 5]),
        (10, [1.7e308, 1.7e308], [5, 5]),
    ],
)
def test_examples(samples: int, weights: list[float], shares: list[int]) -> None:
    assert split(samples, weights) == shares


@given(st.integers(0, 1000), WEIGHTS)
def test_parts_cover_the_samples_in_the_order_of_ranks(samples: int, weights: list[float]) -> None:
    numbers = list(range(samples))
    parts = [part_of(rank, samples, weights) for rank in range(len(weights))]
    assert all(shares == tuple(split(samples, weights)) for shares, _ in parts)
    assert [number for _, part in parts for number in numbers[part]] == numbers


@pytest.mark.parametrize("ranks", [1, 3, 7, 64])
def test_a_thousand_billion_samples(ranks: int) -> None:
    weights = [1.0 / (rank + 1) for rank in range(ranks)]
    shares = split(10**12, weights)
    assert sum(shares) == 10**12
    for share, weight in zip(shares, weights, strict=True):
        assert math.isclose(share, 10**12 * weight / math.fsum(weights), rel_tol=1e-9)


@pytest.mark.parametrize("samples", [10**18, 10**25])
def test_more_samples_than_floats_can_count(samples: int) -> None:
    assert sum(split(samples, [0.1, 0.2, 0.3, 0.15, 0.77])) == samples


def test_a_negative_number_of_samples() -> None:
    with pytest.raises(TrainingError, match="samples: -1 is negative"):
        split(-1, [1.0])


WRONG = [[], [0.0], [0.0, 0.0], [-1.0, 2.0], [math.nan, 1.0], [math.inf], [1.0, -math.inf]]


@pytest.mark.parametrize("weights", WRONG)
def test_weights_that_can_split_nothing(weights: list[float]) -> None:
    with pytest.raises(TrainingError, match=r"^shares: "):
        split(10, weights)
    with pytest.raises(TrainingError, match=r"^shares: "):
        check_weights(weights)


@given(st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=8))
def test_shares_are_read_as_they_are_written(weights: list[float]) -> None:
    assume(any(weights))
    assert parse_shares(":".join(map(repr, weights))) == tuple(weights)


def test_shares_as_people_write_them() -> None:
    assert parse_shares("5:2:1:0") == (5.0, 2.0, 1.0, 0.0)
    assert parse_shares("1") == (1.0,)
    assert parse_shares("0.5: 1.5") == (0.5, 1.5)


@pytest.mark.parametrize(
    "text", ["", ":", "1:", "a:b", "1,2", "0:0", "-1:2", "nan:1", "inf:1", "1:2:", "1::2", "0x1:1"]
)
def test_what_are_no_shares(text: str) -> None:
    with pytest.raises(TrainingError, match=r"^shares: "):
        parse_shares(text)

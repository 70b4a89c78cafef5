"""Parts of an exchange are as large as wires are fast, and no split is quicker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import TrainingError
from beowulf.limits.quantities import Wire
from beowulf.limits.wire import best_parts
from beowulf.train.links import parse_links, partners_of

LINKS = st.lists(st.floats(1, 1000), min_size=1, max_size=8)


def time_of(links: list[float], weights: tuple[float, ...]) -> float:
    moved = [1 + (len(links) - 2) * weight for weight in weights]
    return max(size / link for size, link in zip(moved, links, strict=True))


@given(links=LINKS)
def test_parts_add_up_and_reach_the_least_time(links: list[float]) -> None:
    weights = best_parts(Wire(tuple(links)))
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    ranks = len(links)
    if ranks > 2:
        least = max(1 / min(links), (2 * ranks - 2) / sum(links))
        assert time_of(links, weights) == pytest.approx(least)


def test_a_slow_wire_among_fast_ones_owns_nothing() -> None:
    assert best_parts(Wire((100, 1000, 1000, 1000))) == pytest.approx((0, 1 / 3, 1 / 3, 1 / 3))
    assert best_parts(Wire((5, 5, 5))) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_links_are_read_as_numbers_or_as_words() -> None:
    assert parse_links("100:1000", 2) == parse_links([100, 1000], 2) == (100.0, 1000.0)


@pytest.mark.parametrize("links", ["100", "100:x", "100:0", "100:nan", [1, 2, 3], "1:-1"])
def test_other_links_are_refused(links: str | list[float]) -> None:
    with pytest.raises(TrainingError, match=r"links .* one per rank"):
        parse_links(links, 2)


@pytest.mark.parametrize("ranks", range(1, 10))
def test_everybody_meets_everybody_once_and_never_two_at_a_time(ranks: int) -> None:
    rounds = [partners_of(rank, ranks) for rank in range(ranks)]
    for rank, partners in enumerate(rounds):
        met = [other for other in partners if other is not None]
        assert sorted(met) == [other for other in range(ranks) if other != rank]
        for turn, other in enumerate(partners):
            assert other is None or rounds[other][turn] == rank

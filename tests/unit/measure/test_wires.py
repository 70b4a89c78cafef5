"""Who is measured with whom, and for how long."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.measure.__main__ import names_of
from beowulf.measure.wires import TRANSFERS_PER_PAIR, WHOLE_S, rounds_of, transfer_s


@given(st.integers(1, 40), st.booleans())
def test_every_pair_meets_once_and_nobody_twice_at_a_time(ranks: int, at_once: bool) -> None:
    rounds = list(rounds_of(ranks, at_once=at_once))
    assert sorted(pair for pairs in rounds for pair in pairs) == list(combinations(range(ranks), 2))
    for pairs in rounds:
        players = [player for pair in pairs for player in pair]
        assert len(players) == len(set(players))
        assert at_once or len(pairs) == 1


def test_many_at_once_take_a_round_per_other_node() -> None:
    assert len(list(rounds_of(64, at_once=True))) == 63
    assert len(list(rounds_of(9, at_once=True))) == 9


@pytest.mark.parametrize("nodes", [2, 8, 64, 128])
def test_all_wires_together_take_two_minutes_at_most(nodes: int) -> None:
    rounds = len(list(rounds_of(nodes, at_once=nodes > 8)))
    assert rounds * TRANSFERS_PER_PAIR * transfer_s(rounds) <= WHOLE_S * 4 / 3


def test_ranks_of_one_host_have_names_of_their_own() -> None:
    assert names_of(["a", "b", "a"]) == ["a/0", "b", "a/2"]

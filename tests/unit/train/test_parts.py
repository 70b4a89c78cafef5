"""The parts of an exchange cover every number once, in pieces that are not too large."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from beowulf.train.parts import PIECE_BYTES, rounds_of

WEIGHTS = st.lists(st.floats(0, 10), min_size=1, max_size=6).filter(any).map(tuple)


@given(numbers=st.integers(0, 300_000), weights=WEIGHTS)
def test_every_number_is_in_one_piece_of_one_rank(numbers: int, weights: tuple[float, ...]) -> None:
    rounds = rounds_of(numbers, 8, weights)
    by_rank = list(zip(*rounds, strict=True))
    in_order = [piece for pieces in by_rank for piece in pieces]
    assert in_order[0].start == 0
    assert in_order[-1].stop == numbers
    ends = itertools.pairwise(in_order)
    assert all(one.stop == other.start for one, other in ends)
    assert all((piece.stop - piece.start) * 8 <= PIECE_BYTES + 8 for piece in in_order)
    for weight, pieces in zip(weights, by_rank, strict=True):
        if weight == 0:
            assert pieces[0].start == pieces[-1].stop

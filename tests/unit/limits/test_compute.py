"""No other split of a batch is done sooner than the one that is called best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from beowulf.errors import InvalidInput
from beowulf.limits.compute import (
    best_compute_s,
    best_shares,
    best_split,
    compute_s,
    has_memory,
)
from beowulf.limits.quantities import Node
from tests.unit.limits.nodes import BATCHES, BOUNDED, NODES, SPEEDS


def test_the_formula_holds_when_every_node_pays() -> None:
    nodes = [Node(400, 0.01), Node(200, 0.02), Node(100, 0.01)]
    moment_s = (256 + 400 * 0.01 + 200 * 0.02 + 100 * 0.01) / 700
    assert best_compute_s(nodes, 256) == pytest.approx(moment_s)
    split = tuple(node.samples_per_s * (moment_s - node.overhead_s) for node in nodes)
    assert best_split(nodes, 256) == pytest.approx(split)


@given(BOUNDED, BATCHES)
def test_whole_shares_add_up_and_keep_to_the_memory(nodes: list[Node], batch: int) -> None:
    assume(has_memory(nodes, batch))
    shares = best_shares(nodes, batch)
    assert sum(shares) == batch
    for node, share in zip(nodes, shares, strict=True):
        assert 0 <= share <= (math.inf if node.most_samples is None else node.most_samples)


@given(BOUNDED, BATCHES)
def test_a_split_adds_up_and_those_that_work_end_together(nodes: list[Node], batch: int) -> None:
    assume(has_memory(nodes, batch))
    moment_s = best_compute_s(nodes, batch)
    split = best_split(nodes, batch)
    assert math.fsum(split) == pytest.approx(batch, rel=1e-9, abs=1e-6)
    for node, share in zip(nodes, split, strict=True):
        if share == 0:
            assert node.overhead_s >= moment_s or node.most_samples == 0 or batch == 0
        elif node.most_samples is None or share < node.most_samples:
            assert node.compute_s(share) == pytest.approx(moment_s, rel=1e-6)


def every_split(batch: int, ranks: int) -> Sequence[tuple[int, ...]]:
    choices = itertools.product(range(batch + 1), repeat=ranks)
    return [shares for shares in choices if sum(shares) == batch]


@given(st.lists(st.builds(Node, SPEEDS, st.floats(0, 0.5)), min_size=1, max_size=3),
       st.integers(1, 9))  # fmt: skip
def test_no_whole_shares_are_done_sooner(nodes: list[Node], batch: int) -> None:
    least_s = min(compute_s(nodes, shares) for shares in every_split(batch, len(nodes)))
    assert compute_s(nodes, best_shares(nodes, batch)) == pytest.approx(least_s, rel=1e-12)


@given(BOUNDED, st.integers(1, 2000))
def test_parts_of_samples_are_done_no_later_than_whole_ones(nodes: list[Node], batch: int) -> None:
    assume(has_memory(nodes, batch))
    whole_s = compute_s(nodes, best_shares(nodes, batch))
    assert best_compute_s(nodes, batch) <= whole_s * (1 + 1e-9)


@given(st.builds(Node, SPEEDS, st.floats(0, 0.5)), st.integers(1, 8), BATCHES)
def test_equal_nodes_get_equal_shares(node: Node, count: int, batch: int) -> None:
    shares = best_shares([node] * count, batch)
    assert max(shares) - min(shares) <= 1
    assert list(shares) == sorted(shares, reverse=True)


@given(NODES, st.builds(Node, SPEEDS, st.floats(0, 0.5)), st.integers(1, 2000))
def test_one_more_node_never_makes_the_compute_slower(
    nodes: list[Node], another: Node, batch: int
) -> None:
    assert best_compute_s([*nodes, another], batch) <= best_compute_s(nodes, batch) * (1 + 1e-9)


@given(NODES, BATCHES, BATCHES)
def test_more_samples_never_take_less_time(nodes: list[Node], few: int, more: int) -> None:
    few, more = sorted((few, more))
    assert best_compute_s(nodes, few) <= best_compute_s(nodes, more) * (1 + 1e-9)


def test_a_node_whose_overhead_is_longer_than_the_step_gets_nothing() -> None:
    assert best_shares([Node(100, 0.01), Node(100, 5.0)], 64) == (64, 0)


def test_what_one_node_s_memory_does_not_take_goes_to_the_others() -> None:
    nodes = [Node(400, most_samples=10), Node(100), Node(100)]
    assert best_shares(nodes, 70) == (10, 30, 30)


def test_a_batch_that_fills_all_memory_to_the_last_sample() -> None:
    nodes = [Node(3.0, 0.1, most_samples=7), Node(0.7, 0.3, most_samples=11)]
    assert best_shares(nodes, 18) == (7, 11)


def test_a_batch_beyond_all_memory_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^batch: 19 samples are more than .* memory takes"):
        best_shares([Node(3.0, most_samples=7), Node(0.7, most_samples=11)], 19)


def test_without_nodes_there_is_no_split() -> None:
    with pytest.raises(InvalidInput, match=r"^nodes: "):
        best_split([], 1)

"""An exchange takes what its busiest link takes."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.limits.quantities import Wire
from beowulf.limits.wire import (
    LEAST_BYTES,
    MOST_BYTES,
    best_parts,
    buckets_of,
    early_bucket_bytes,
    ring_s,
    weighted_exchange_s,
)
from tests.unit.limits.nodes import MBIT_100, MBIT_1000, RATES, SIZES, WIRES


def test_a_ring_carries_twice_what_each_node_lacks() -> None:
    assert ring_s(Wire((1e6,) * 4), 8e6) == pytest.approx(2 * 3 / 4 * 8)
    assert ring_s(Wire((1e6,) * 2), 8e6) == pytest.approx(8)


def test_each_bucket_costs_its_rounds() -> None:
    wire = Wire((1e6,) * 3, latency_s=0.001)
    assert ring_s(wire, 3e6, 1e6) - ring_s(Wire((1e6,) * 3), 3e6) == pytest.approx(3 * 4 * 0.001)


@given(SIZES, RATES)
def test_one_node_has_nothing_to_exchange(size_bytes: float, rate: float) -> None:
    assert ring_s(Wire((rate,), 1.0), size_bytes) == 0
    assert weighted_exchange_s(Wire((rate,), 1.0), size_bytes) == 0


@given(WIRES, SIZES)
def test_the_slowest_link_sets_the_pace_of_a_ring(wire: Wire, size_bytes: float) -> None:
    slowest = Wire((min(wire.bytes_per_s),) * wire.nodes, wire.latency_s)
    assert ring_s(wire, size_bytes, 1e6) == ring_s(slowest, size_bytes, 1e6)


@given(WIRES)
def test_the_parts_are_a_whole_and_grow_with_the_link(wire: Wire) -> None:
    parts = best_parts(wire)
    assert math.fsum(parts) == pytest.approx(1)
    assert min(parts) >= 0
    by_rate = sorted(zip(wire.bytes_per_s, parts, strict=True))
    assert all(a[1] <= b[1] * (1 + 1e-9) for a, b in itertools.pairwise(by_rate))


@given(WIRES, SIZES, st.data())
def test_no_other_parts_are_exchanged_sooner(
    wire: Wire, size_bytes: float, data: st.DataObject
) -> None:
    tried = data.draw(
        st.lists(st.floats(0.01, 1), min_size=wire.nodes, max_size=wire.nodes), label="parts"
    )
    total = math.fsum(tried)
    others = weighted_exchange_s(wire, size_bytes, parts=[part / total for part in tried])
    assert weighted_exchange_s(wire, size_bytes) <= others * (1 + 1e-9)


@given(WIRES, SIZES)
def test_a_weighted_exchange_is_never_slower_than_a_ring(wire: Wire, size_bytes: float) -> None:
    weighted_s = weighted_exchange_s(wire, size_bytes, 1e6)
    assert weighted_s <= ring_s(wire, size_bytes, 1e6) * (1 + 1e-9)


def test_links_alike_make_it_a_ring_s_time() -> None:
    wire = Wire((5e6,) * 5)
    assert best_parts(wire) == pytest.approx((0.2,) * 5)
    assert weighted_exchange_s(wire, 1e7) == pytest.approx(ring_s(wire, 1e7))


def test_one_slow_link_among_three_fast_ones_only_carries_its_own() -> None:
    wire = Wire((MBIT_100, *(MBIT_1000,) * 3))
    assert best_parts(wire) == pytest.approx((0, 1 / 3, 1 / 3, 1 / 3))
    assert weighted_exchange_s(wire, 1e7) == pytest.approx(1e7 / 11.875e6)
    assert ring_s(wire, 1e7) == pytest.approx(1.5e7 / 11.875e6)


@pytest.mark.parametrize(
    ("size_bytes", "bucket_bytes", "buckets"),
    [(0, 1e6, 1), (1, 1e6, 1), (1e6, 1e6, 1), (1e6 + 1, 1e6, 2), (25e6, 1e6, 25), (5, math.inf, 1)],
)  # fmt: skip
def test_buckets_hold_all_and_there_is_one_at_least(
    size_bytes: float, bucket_bytes: float, buckets: int
) -> None:
    assert buckets_of(size_bytes, bucket_bytes) == buckets


@pytest.mark.parametrize(
    ("size_bytes", "bucket_bytes"),
    [(0, LEAST_BYTES), (1e5, LEAST_BYTES), (2.6e6, 325_000), (5e6, 625_000), (25e6, MOST_BYTES),
     (math.inf, MOST_BYTES)],
)  # fmt: skip
def test_the_last_bucket_is_a_small_part_of_all_but_not_small_itself(
    size_bytes: float, bucket_bytes: int
) -> None:
    assert early_bucket_bytes(size_bytes) == bucket_bytes

"""What an all-reduce is measured against."""

from __future__ import annotations

import pytest

from bench.allreduce import percents, ring_percent


@pytest.mark.parametrize(("nodes", "carried"), [(2, 1.0), (3, 4 / 3), (4, 1.5)])
def test_a_ring_carries_twice_all_but_one_part(nodes: int, carried: float) -> None:
    assert ring_percent(nodes, 1_000_000, 1e6, carried) == pytest.approx(100)
    assert ring_percent(nodes, 1_000_000, 1e6, 2 * carried) == pytest.approx(50)


def test_each_round_is_compared_with_the_median_of_raw_tcp() -> None:
    found = {"tcp_bytes_per_s": [1e6, 9e6, 1e6], "seconds": {"1000000": [1.0, 2.0]}}
    assert percents(2, found, [1_000_000]) == {1_000_000: [100.0, 50.0]}

"""A machine is called a burden only where it certainly is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.limits.compute import best_shares
from beowulf.limits.quantities import Job, Node, Wire
from beowulf.limits.step import DENSE, NAIVE, Strategy, step_time, wire_of
from beowulf.limits.unplug import unplugging

HOSTS = ("node1", "node2", "node3", "node4")


def test_a_slow_node_on_a_slow_wire_is_a_burden() -> None:
    found = unplugging(HOSTS[:2], (90, 10), (0.1, 0.1), step_s=1.1, wire_s=1.0)
    assert found is not None
    assert found.host == "node2"
    assert found.gain == pytest.approx(1.1 / (0.1 / 0.9) - 1)


def test_where_compute_is_all_nobody_is_too_much() -> None:
    assert unplugging(HOSTS, (40, 20, 20, 20), (0.1,) * 4, step_s=0.11, wire_s=0.01) is None


def test_a_little_is_not_said() -> None:
    assert unplugging(HOSTS[:2], (99, 1), (1.0, 1.0), step_s=1.05, wire_s=0.05) is None


def test_a_straggler_whose_share_does_not_follow_is_a_burden() -> None:
    found = unplugging(HOSTS, (25,) * 4, (0.1, 0.1, 0.9, 0.1), step_s=0.9, wire_s=0.0)
    assert found is not None
    assert found.host == "node3"


def test_all_ranks_of_a_host_go_with_it() -> None:
    hosts = ("node1", "node1", "node2", "node2")
    found = unplugging(hosts, (45, 45, 5, 5), (0.1,) * 4, step_s=1.1, wire_s=1.0)
    assert found is not None
    assert found.host == "node2"
    assert found.gain == pytest.approx(1.1 / (0.1 / 0.9 + 1.0 * (1 / 2) / (3 / 4)) - 1)


def test_the_only_machine_stays() -> None:
    assert unplugging(("laptop",) * 4, (25,) * 4, (0.1,) * 4, step_s=1.0, wire_s=0.8) is None
    assert unplugging((None,) * 2, (50, 50), (0.1,) * 2, step_s=1.0, wire_s=0.8) is None


def test_those_that_are_left_must_have_had_samples() -> None:
    assert unplugging(HOSTS[:2], (100, 0), (0.1, 0.0), step_s=1.0, wire_s=0.9) is not None
    found = unplugging(HOSTS[:2], (100, 0), (0.1, 0.0), step_s=1.0, wire_s=0.9)
    assert found is not None
    assert found.host == "node2"


@given(
    st.lists(st.floats(50, 1000), min_size=2, max_size=4),
    st.floats(1e5, 1e9),
    st.floats(0, 1e7),
    st.sampled_from([NAIVE, DENSE]),
    st.floats(0, 0.1),
)
def test_steps_without_it_are_as_fast_as_is_said_or_faster(
    speeds: list[float], rate: float, gradient_bytes: float, strategy: Strategy, besides_s: float
) -> None:
    nodes = [Node(speed) for speed in speeds]
    hosts, wire = HOSTS[: len(nodes)], Wire((rate,) * len(nodes))
    job = Job(512, gradient_bytes, bucket_bytes=1e6)
    shares = best_shares(nodes, job.batch)
    times = [node.compute_s(share) for node, share in zip(nodes, shares, strict=True)]
    now = step_time(nodes, wire, job, strategy, shares)
    found = unplugging(hosts, shares, times, now.step_s + besides_s, now.step_s - now.compute_s)
    if found is not None:
        left = [rank for rank, host in enumerate(hosts) if host != found.host]
        there = [nodes[rank] for rank in left]
        after = step_time(there, wire_of(wire, left), job, strategy)
        real = (now.step_s + besides_s) / (after.step_s + besides_s) - 1
        assert real >= found.gain * 0.98 - 0.01  # whole samples make a difference

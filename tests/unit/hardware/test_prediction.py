"""From measurements to predictions: who is used first, what limits, and what is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import InvalidInput
from beowulf.hardware.prediction import (
    Cluster,
    NodeFigures,
    advice,
    cluster_of,
    predict,
    speeds_from_fastest,
)
from beowulf.hardware.speeds import MBIT
from beowulf.job.measured import AllreduceTime
from beowulf.limits.quantities import Job
from beowulf.limits.step import DENSE, FP16, NAIVE
from tests.unit.hardware.closet import PC, closet

UNEQUAL = closet(PC(gflops=20), PC(gflops=40), PC(gflops=10))


def test_speeds_that_are_not_known_follow_the_matrix_product() -> None:
    cluster = cluster_of(UNEQUAL, speeds_from_fastest(UNEQUAL, 400))
    assert [(node.name, node.samples_per_s) for node in cluster.nodes] == [
        ("n2", 400.0), ("n1", 200.0), ("n3", 100.0),
    ]  # fmt: skip
    known = cluster_of(UNEQUAL, {"n2": 400.0, "n3": 50.0, "elsewhere": 9.0})
    assert {node.name: node.samples_per_s for node in known.nodes} == {
        "n2": 400.0, "n3": 50.0, "n1": pytest.approx(20 * (400 / 40 + 50 / 10) / 2),
    }  # fmt: skip


def test_speeds_of_strangers_are_refused() -> None:
    with pytest.raises(InvalidInput, match="beowulf bench"):
        cluster_of(UNEQUAL, {"elsewhere": 9.0})


def test_a_node_on_a_slow_cable_is_taken_last() -> None:
    measured = closet(PC(gflops=90, out=9, into=9), PC(gflops=20), PC(gflops=40))
    cluster = cluster_of(measured, speeds_from_fastest(measured, 90))
    assert [node.name for node in cluster.nodes] == ["n3", "n2", "n1"]
    assert [node.name for node in cluster.taken(5)] == ["n3", "n2", "n1", "n3", "n2"]


def test_the_wire_is_what_the_sums_showed_of_it() -> None:
    latency_s, part = 1e-4, 0.8  # as in the closet
    carrying_s = 4 / 3 * 1e6 / (940 * MBIT) / part
    sums = (AllreduceTime(1024, 4 * latency_s), AllreduceTime(10**6, carrying_s + 4 * latency_s))
    cluster = cluster_of(closet(PC(), PC(), PC(), sums=sums), {"n1": 1.0})
    assert cluster.latency_s == pytest.approx(latency_s)
    assert cluster.nodes[0].bytes_per_s == pytest.approx(part * 940 * MBIT)


def test_sums_better_than_the_wire_are_not_believed() -> None:
    sums = (AllreduceTime(1024, 1e-4), AllreduceTime(10**6, 1e-3))
    cluster = cluster_of(closet(PC(), PC(), PC(), sums=sums), {"n1": 1.0})
    assert cluster.nodes[0].bytes_per_s == pytest.approx(940 * MBIT)
    rounds_alone = (AllreduceTime(10**6, 1e-4),)
    cluster = cluster_of(closet(PC(), PC(), sums=rounds_alone), {"n1": 1.0})
    assert cluster.nodes[0].bytes_per_s == pytest.approx(940 * MBIT)


def test_half_duplex_halves_the_wire() -> None:
    cluster = cluster_of(closet(PC(both=0.5), PC()), {"n1": 1.0})
    assert cluster.nodes[0].bytes_per_s == pytest.approx(470 * MBIT)


def equal(count: int, mbit: float, latency_s: float = 0.0) -> Cluster:
    nodes = tuple(NodeFigures(f"n{number}", 100.0, mbit * MBIT) for number in range(count))
    return Cluster(nodes, latency_s)


def test_what_limits_is_said() -> None:
    job = Job(batch=100, gradient_bytes=1e6)
    limits = [
        predict(cluster, job, [2], [DENSE])[0].limited_by
        for cluster in (equal(2, 10_000), equal(2, 1), equal(2, 10_000, latency_s=1.0))
    ]
    assert limits == ["compute", "wire", "latency"]


def test_one_node_waits_for_no_wire_and_many_are_counted_as_measured_or_not() -> None:
    found = predict(equal(2, 100), Job(50, 1e6), [1, 2, 4], [DENSE, NAIVE])
    assert [(each.nodes, each.measured) for each in found[::2]] == [(1, 1), (2, 2), (4, 2)]
    for each in found[:2]:
        assert (each.step_s, each.wire_s, each.efficiency) == pytest.approx((0.5, 0, 1))


@given(
    st.lists(st.floats(1, 1e4), min_size=1, max_size=5),
    st.floats(1, 1e4),
    st.integers(1, 4096),
    st.floats(1e3, 1e8),
)
def test_predictions_keep_within_what_machines_can_do(
    speeds: list[float], mbit: float, batch: int, gradient_bytes: float
) -> None:
    nodes = tuple(NodeFigures(f"n{n}", speed, mbit * MBIT) for n, speed in enumerate(speeds))
    job = Job(batch, gradient_bytes)
    for dense, fp16, naive in zip(
        *[iter(predict(Cluster(nodes, 1e-4), job, range(1, 9), (DENSE, FP16, NAIVE)))] * 3,
        strict=True,
    ):
        assert 0 < dense.efficiency <= 1 + 1e-9
        assert dense.step_s <= naive.step_s * (1 + 1e-9)
        assert fp16.wire_s <= dense.wire_s
        assert dense.step_s >= max(dense.compute_s, dense.wire_s) * (1 - 1e-9)


def test_a_machine_that_is_faster_alone_is_named() -> None:
    cluster = equal(3, 1)
    said = advice(cluster, predict(cluster, Job(10, 1e7), range(1, 3), [DENSE]))
    assert said == ["n0 alone is faster than any number of nodes here"]


def test_a_node_that_costs_more_than_it_gives_is_named() -> None:
    nodes = (NodeFigures("a", 100, 1e9), NodeFigures("b", 100, 1e9), NodeFigures("c", 50, 1e6))
    cluster = Cluster(nodes, 0.0)
    said = advice(cluster, predict(cluster, Job(100, 1e6), range(1, 4), [DENSE]))
    assert said[-1] == "of the 3 nodes that were measured, leaving out c is 246 % faster"
    wire = Cluster((*nodes[:2], NodeFigures("c", 50, 1e9)), 0.0)
    said = advice(wire, predict(wire, Job(100, 1e6), range(1, 4), [DENSE]))
    assert len(said) == 1


def test_numbers_that_do_not_pay_are_named() -> None:
    cluster = Cluster((NodeFigures("a", 100, 1e9), NodeFigures("b", 100, 1e5)), 0.0)
    said = advice(cluster, predict(cluster, Job(100, 1e6), [1, 2, 3], [DENSE]))
    assert "a alone is faster than any number of nodes here" in said
    fast = Cluster((NodeFigures("a", 100, 1e9),), 0.02)
    said = advice(fast, predict(fast, Job(100, 1e6), [1, 2, 40], [DENSE]))
    assert said == [
        "fastest: 2 nodes with dense, 1.85 times as fast as a alone",
        "a alone is faster than these numbers of nodes: 40",
        "1 node measured; beyond that, the same ones again are presumed",
    ]

"""A step takes no less than its compute and no less than its wire, and no more than both."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from beowulf.errors import InvalidInput
from beowulf.limits.quantities import Job, Node, Wire
from beowulf.limits.step import DENSE, FP16, NAIVE, Strategy, best_nodes, step_time
from tests.unit.limits.nodes import MBIT_100, NODES, RATES, SPEEDS

JOBS = st.builds(
    Job, st.integers(1, 500), st.floats(0, 1e8), st.floats(0, 1), st.sampled_from([1e5, 1e6, 1e9])
)
WEIGHTED = Strategy("weighted", weighted=True)
LOCAL = Strategy("local", every_steps=10)
STRATEGIES = st.sampled_from([NAIVE, DENSE, FP16, WEIGHTED, LOCAL])


@given(NODES, RATES, JOBS, STRATEGIES)
def test_a_step_lies_between_its_longer_part_and_their_sum(
    nodes: list[Node], rate: float, job: Job, strategy: Strategy
) -> None:
    time = step_time(nodes, Wire((rate,) * len(nodes)), job, strategy)
    assert max(time.compute_s, time.wire_s) <= time.step_s * (1 + 1e-9)
    assert time.step_s <= (time.compute_s + time.wire_s) * (1 + 1e-9)


@given(NODES, RATES, JOBS)
def test_what_sends_less_or_overlaps_is_never_slower(
    nodes: list[Node], rate: float, job: Job
) -> None:
    wire = Wire((rate,) * len(nodes))
    naive, dense, fp16 = (step_time(nodes, wire, job, s).step_s for s in (NAIVE, DENSE, FP16))
    assert fp16 <= naive * (1 + 1e-9)
    assert dense <= naive * (1 + 1e-9)


def test_the_parts_of_an_overlapped_step() -> None:
    nodes, wire = [Node(100.0)] * 2, Wire((1e6, 1e6))
    job = Job(batch=60, gradient_bytes=1e5, forward_share=1 / 3, bucket_bytes=1e4)
    time = step_time(nodes, wire, job, DENSE)
    assert time.compute_s == pytest.approx(0.3)
    assert time.wire_s == pytest.approx(0.1)
    assert time.step_s == pytest.approx(0.3 + 0.01)  # the last bucket is left over
    assert time.limited_by == "compute"
    large = step_time(nodes, wire, Job(60, 1e6, 1 / 3, 1e5), DENSE)
    assert large.step_s == pytest.approx(0.1 + 0.2 / 10 + 1.0)  # the first bucket is waited for
    assert large.limited_by == "wire"


def test_local_steps_share_the_time_of_an_exchange() -> None:
    nodes, wire = [Node(100.0)] * 2, Wire((1e6, 1e6))
    job = Job(batch=20, gradient_bytes=1e6)
    assert step_time(nodes, wire, job, LOCAL).step_s == pytest.approx(0.1 + 1.0 / 10)


def test_coding_is_paid_in_every_step() -> None:
    nodes, wire, job = [Node(100.0)], Wire((1e6,)), Job(batch=10, gradient_bytes=1e6)
    coded = Strategy("coded", coding_s=0.05)
    assert step_time(nodes, wire, job, coded).step_s == pytest.approx(0.15)


def test_other_shares_than_the_best_wait_for_the_last_node() -> None:
    nodes, wire, job = [Node(400), Node(100)], Wire((1e9, 1e9)), Job(100, 0)
    assert step_time(nodes, wire, job, NAIVE, (50, 50)).step_s == pytest.approx(0.5)
    assert step_time(nodes, wire, job, NAIVE).step_s == pytest.approx(0.2)


@given(st.lists(SPEEDS, min_size=1, max_size=5), st.data(), JOBS)
def test_no_other_choice_of_nodes_is_faster_on_a_ring(
    speeds: list[float], data: st.DataObject, job: Job
) -> None:
    nodes = [Node(speed) for speed in speeds]
    rates = data.draw(
        st.lists(st.sampled_from([1e6, 1e7, 1e8]), min_size=len(nodes), max_size=len(nodes))
    )
    _, best = best_nodes(nodes, Wire(tuple(rates)), job, NAIVE)
    for count in range(1, len(nodes) + 1):
        for chosen in itertools.combinations(range(len(nodes)), count):
            wire = Wire(tuple(rates[i] for i in chosen))
            time = step_time([nodes[i] for i in chosen], wire, job, NAIVE)
            assert best.step_s <= time.step_s * (1 + 1e-9)


def test_one_node_alone_may_be_the_best_choice() -> None:
    nodes, wire = [Node(400), Node(200), Node(100)], Wire((MBIT_100,) * 3)
    chosen, time = best_nodes(nodes, wire, Job(128, gradient_bytes=2.6e7), NAIVE)
    assert chosen == (0,)
    assert time.wire_s == 0


def test_nodes_without_the_memory_are_not_chosen() -> None:
    nodes = [Node(400, most_samples=10), Node(1.0)]
    chosen, _ = best_nodes(nodes, Wire((1e3, 1e3)), Job(20, gradient_bytes=1e9), NAIVE)
    assert chosen == (1,)
    with pytest.raises(InvalidInput, match=r"^batch: "):
        best_nodes(nodes[:1], Wire((1e3,)), Job(20, 1e9), NAIVE)


@given(NODES, JOBS)
def test_nodes_and_links_must_be_as_many(nodes: list[Node], job: Job) -> None:
    assume(len(nodes) != 3)
    for function in (step_time, best_nodes):
        with pytest.raises(InvalidInput, match=r"^bytes_per_s: "):
            function(nodes, Wire((1e6,) * 3), job, DENSE)


def test_shares_must_be_as_many_as_nodes() -> None:
    with pytest.raises(InvalidInput, match=r"^shares: "):
        step_time([Node(1.0)], Wire((1e6,)), Job(1, 1), DENSE, (1, 2))

"""Which node's wire is at fault, in words, and that nobody else is blamed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.hardware.speeds import (
    MBIT,
    judge_speeds,
    node_wires,
    ring_limit_s,
)
from beowulf.job.measured import Measured, read_measured
from tests.unit.hardware.closet import PC, closet
from tests.unit.hardware.recorded import RECORDINGS


def faults(measured: Measured) -> dict[str, str]:
    return {each.subject: each.words for each in judge_speeds(measured) if not each.is_good}


def test_a_healthy_closet_is_told_to_be_one() -> None:
    (finding,) = judge_speeds(closet(PC(), PC(), PC()))
    assert finding.is_good
    assert finding.words == "every wire carries 940 Mbit/s, as 1 Gbit Ethernet does"


def test_the_100_mbit_cable_is_named() -> None:
    findings = judge_speeds(closet(PC(), PC(), PC(out=94, into=94), PC()))
    assert [(each.subject, each.is_good) for each in findings] == [("n3", False), ("wires", True)]
    assert findings[0].words == (
        "n3's wire carries 94 Mbit/s where the others carry 940: a 100 Mbit port or cable"
    )
    assert "cable" in findings[0].remedy
    assert findings[1].words == "the other wires carry 940 Mbit/s, as 1 Gbit Ethernet does"


def test_a_wire_that_is_slow_one_way_says_which() -> None:
    found = faults(closet(PC(), PC(out=80), PC()))
    assert list(found) == ["n2"]
    assert "80 Mbit/s in one direction (out 80, in 940)" in found["n2"]


def test_a_speed_of_no_port_is_a_bad_cable() -> None:
    assert "a damaged cable" in faults(closet(PC(), PC(out=250, into=250), PC()))["n2"]


def test_a_half_duplex_port_is_named() -> None:
    slow = PC(out=94, into=94)
    found = faults(closet(slow, slow, PC(out=94, into=94, both=0.5), slow))
    assert list(found) == ["n3"]
    assert "only one direction at a time: a half-duplex port or a hub" in found["n3"]


def test_a_half_duplex_port_among_faster_ones_is_named() -> None:
    found = faults(closet(PC(), PC(), PC(out=90, into=90, both=0.4), PC()))
    assert list(found) == ["n3"]


def test_what_the_kernel_says_of_a_port_needs_no_measuring() -> None:
    found = faults(closet(PC(), PC(duplex="half"), PC(duplex="full")))
    assert found == {
        "n2": "n2's wire carries only one direction at a time: its port says half duplex"
    }


def test_a_hub_is_nobody_s_port() -> None:
    shared = PC(out=90, into=90, both=0.5)
    assert list(faults(closet(shared, shared, shared)).values()) == [
        "between the nodes only one direction at a time works: they share a hub"
    ]
    assert list(faults(closet(shared, shared)).values()) == [
        "between n1 and n2 only one direction at a time works: one of the two ports is half duplex"
    ]


def test_a_processor_that_cannot_do_both_directions_of_a_gigabit_is_no_half_duplex_port() -> None:
    assert faults(closet(PC(both=0.5), PC(both=0.5), PC(both=0.5))) == {}


def test_two_nodes_blame_neither() -> None:
    (finding,) = judge_speeds(closet(PC(), PC(out=94, into=94)))
    assert finding.words == "the wire carries 94 Mbit/s, as 100 Mbit Ethernet does"


def test_a_node_alone_has_no_wire() -> None:
    alone = closet(PC())
    assert (judge_speeds(alone), node_wires(alone), ring_limit_s(alone, 8)) == ([], {}, None)


@given(
    st.integers(3, 12),
    st.sampled_from([(940.0, 94.0), (94.0, 9.4), (2350.0, 940.0), (940.0, 9.4)]),
    st.randoms(use_true_random=False),
)
def test_whoever_hangs_on_the_slow_cable_it_is_they(
    nodes: int, speeds: tuple[float, float], chance: random.Random
) -> None:
    """Each wire measures up to a third less than it carries, whatever else happens there."""
    fast, slow = speeds
    culprit = chance.randrange(nodes)
    pcs = []
    for place in range(nodes):
        speed = (slow if place == culprit else fast) * chance.uniform(0.67, 1)
        pcs.append(PC(out=speed, into=speed))
    if fast / slow > 3:
        assert list(faults(closet(*pcs))) == [f"n{culprit + 1}"]
    else:
        assert set(faults(closet(*pcs))) <= {f"n{culprit + 1}"}


def test_the_ring_s_limit_is_that_of_the_slowest_wire() -> None:
    limit_s = ring_limit_s(closet(PC(), PC(out=94, into=94), PC()), 3_000_000)
    assert limit_s == pytest.approx(4 / 3 * 3_000_000 / (94 * MBIT))


def test_a_recording_of_real_cables_says_the_same() -> None:
    """Four namespaces with cables of 100, 100, 10 and 100 Mbit/s, as bench measured them."""
    measured = read_measured(RECORDINGS / "bench" / "one_slow_cable.json")
    assert measured is not None
    found = judge_speeds(measured)
    assert [(each.subject, each.is_good) for each in found] == [("node2", False), ("wires", True)]
    assert "a 10 Mbit port or cable" in found[0].words
    assert found[1].words.endswith("as 100 Mbit Ethernet does")

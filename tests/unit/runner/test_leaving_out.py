"""Which nodes a new job keeps away from, so that enough are left for it."""

from __future__ import annotations

from typing import Any

import pytest

from beowulf.job.trust import Trust
from beowulf.runner.leaving_out import choose
from beowulf.runner.spec import spec_from

UNTIL = "2026-11-25T{:02d}:00:00+00:00"


def told(*left_out: tuple[str, int], up: int = 4, cores: int = 4) -> dict[str, Any]:
    trusts = [Trust(node, 65, 3, "lost 3 times in 24 hours", None, UNTIL.format(hour))
              for node, hour in left_out]  # fmt: skip
    return {
        "nodes_up": up,
        "nodes": [[f"node{n}", cores, n <= up] for n in range(1, 5)],
        "left_out": [trust.to_json() for trust in trusts],
    }


def chosen(facts: dict[str, Any], **document: Any) -> tuple[list[str], int]:
    left_out, nodes_up = choose(spec_from({"command": ["true"], **document}), facts)
    return [trust.node for trust in left_out], nodes_up


def test_as_a_rule_nothing_is_left_out() -> None:
    assert chosen({"nodes_up": 4}) == ([], 4)


def test_a_job_that_names_no_nodes_gets_all_others() -> None:
    assert chosen(told(("node3", 16))) == (["node3"], 3)


def test_a_node_that_is_off_is_left_out_too_since_it_may_come_back() -> None:
    assert chosen(told(("node4", 16), up=3)) == (["node4"], 3)


def test_a_range_is_content_with_its_fewest() -> None:
    facts = told(("node3", 16), ("node4", 17))
    assert chosen(facts, resources={"nodes": "2-4"})[0] == ["node4", "node3"]


def test_where_too_few_are_left_the_one_that_is_back_first_is_used() -> None:
    facts = told(("node3", 16), ("node4", 17))
    assert chosen(facts, resources={"nodes": "3"})[0] == ["node4"]
    assert chosen(facts, resources={"nodes": 4})[0] == []


def test_ranks_need_cores() -> None:
    facts = told(("node3", 16), ("node4", 17))
    assert chosen(facts, resources={"ranks": 8})[0] == ["node4", "node3"]
    assert chosen(facts, resources={"ranks": 9})[0] == ["node4"]
    assert chosen(facts, resources={"ranks": 8, "threads_per_rank": 2})[0] == []


def test_the_last_node_is_never_left_out() -> None:
    facts = told(("node1", 16), ("node2", 17), up=2)
    assert chosen(facts) == (["node2"], 1)


def test_who_wants_any_node_gets_it() -> None:
    assert chosen(told(("node3", 16)), retry={"leave_out": False}) == ([], 4)


@pytest.mark.parametrize(
    "left_out",
    [None, "x", [None], [{}], [{"node": "node3"}], [Trust("node3").to_json()],
     [Trust("a,b", left_out_until=UNTIL.format(1)).to_json()],
     [Trust("unknown-to-slurm", left_out_until=UNTIL.format(1)).to_json()]],
)  # fmt: skip
def test_what_makes_no_sense_is_passed_over(left_out: Any) -> None:
    assert chosen(told() | {"left_out": left_out}) == ([], 4)

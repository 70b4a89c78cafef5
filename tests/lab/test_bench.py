"""``beowulf bench`` finds the one slow cable of a real cluster, and ``predict`` goes by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.job.measured import parse_measured
from tests.conftest import REPOSITORY
from tests.docs.markdown import blocks
from tests.docs.session import check, play
from tests.lab.room import NODES
from tests.lab.test_submit import laptop_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.cluster import Cluster

PAGE = REPOSITORY / "docs" / "speed.md"
DIGITS = REPOSITORY / "jobs" / "digits" / "job.toml"
SLOW = "node2"


@pytest.fixture
def equal_cables(untouched_cluster: Cluster) -> Iterator[None]:
    """All cables carry 50 Mbit/s, both ways at once too, however busy the lab's computer is."""
    for node in NODES:
        untouched_cluster.room("cable", node, "rate", "50mbit")
    yield
    for node in NODES:
        untouched_cluster.room("cable", node, "heal")


@pytest.fixture
def slow_cable(untouched_cluster: Cluster, equal_cables: None) -> str:
    """One node's cable carries 10 Mbit/s."""
    untouched_cluster.room("cable", SLOW, "rate", "10mbit")
    return SLOW


@pytest.mark.usefixtures("equal_cables")
def test_the_page_s_commands_do_what_it_shows(untouched_cluster: Cluster, tmp_path: Path) -> None:
    ada = laptop_of("ada", untouched_cluster, tmp_path)
    ways = ("XDG_CONFIG_HOME", "BEOWULF_SSH_CONFIG")
    variables = {way: ada.environment[way] for way in ways}
    variables["BEOWULF_LAB"] = untouched_cluster.room.name
    check(play(blocks(PAGE.read_text("utf-8")), REPOSITORY, tmp_path, variables=variables))


def test_the_slow_cable_is_named_and_no_other(
    untouched_cluster: Cluster, slow_cable: str, tmp_path: Path
) -> None:
    ada = laptop_of("ada", untouched_cluster, tmp_path)
    document = json.loads(ada("bench", "--json"))
    wrong = [finding for finding in document["findings"] if not finding["is_good"]]
    assert [finding["subject"] for finding in wrong] == [slow_cable], document
    assert "where the others carry" in wrong[0]["words"]
    assert document["left_out"] == []
    measured = document["measured"]
    assert {node["name"] for node in measured["nodes"]} == set(NODES)
    assert len(measured["wires"]) == 12
    for wire in measured["wires"]:
        others = [w["bytes_per_s"] for w in measured["wires"] if not touches(w, slow_cable)]
        if touches(wire, slow_cable):
            assert wire["bytes_per_s"] < min(others), wire
    assert measured["allreduce"]

    kept = untouched_cluster.as_user("ada", "head", "cat beowulf/measured.json")
    assert parse_measured(json.loads(kept)) == parse_measured(measured), "on the nodes it is known"

    figures = ("--batch", "256", "--gradients-mb", "1", "--samples-per-s", "1000")
    told = json.loads(ada("predict", DIGITS, "--nodes", "1-8", *figures, "--json"))
    assert list(told["nodes_per_s"])[-1] == slow_cable, "it is used last"
    dense = {p["nodes"]: p for p in told["predictions"] if p["strategy"] == "dense"}
    assert dense[4]["limited_by"] == "wire"
    assert dense[3]["wire_s"] < dense[4]["wire_s"]


def touches(wire: dict[str, Any], node: str) -> bool:
    return node in (wire["source"], wire["target"])


def test_a_node_that_is_taken_out_is_left_out_and_named(
    untouched_cluster: Cluster, tmp_path: Path
) -> None:
    ada = laptop_of("ada", untouched_cluster, tmp_path)
    set_state = "sudo scontrol update nodename=node3 state="
    untouched_cluster.room.on("head", f"{set_state}drain reason=test")
    try:
        done = ada.try_to("bench")
    finally:
        untouched_cluster.room.on("head", f"{set_state}resume")
    assert done.returncode == 0, done.stderr.decode()
    assert "node3 is drained: it was not measured" in done.stderr.decode()
    lines = [line.split()[:1] for line in done.stdout.decode().splitlines()]
    assert ["node1"] in lines
    assert ["node3"] not in lines

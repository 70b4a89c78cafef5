"""How measurements are shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest

from beowulf.cli.bench import node_rows, sum_row
from beowulf.cli.heat_map import heat_map
from beowulf.durable import write_json
from beowulf.job.measured import AllreduceTime
from tests.conftest import Beowulf
from tests.unit.cli.conftest import assert_refused
from tests.unit.cli.test_cluster_verbs import says
from tests.unit.hardware.closet import PC, closet
from tests.unit.hardware.recorded import NODES

SLOW_THIRD = closet(
    PC(gflops=40),
    PC(gflops=20),
    PC(gflops=10, out=94, into=94),
    sums=(AllreduceTime(1 << 20, 0.2),),
)


def kept(state_home: Path, cluster: str | None = None) -> Path:
    path = state_home / "beowulf" / ("" if cluster is None else f"clusters/{cluster}")
    path.mkdir(parents=True)
    write_json(path / "measured.json", SLOW_THIRD.to_json())
    return path


def test_nodes_are_lines_with_bars() -> None:
    first, second, third = node_rows(SLOW_THIRD)
    assert [first["SPEED"], second["SPEED"], third["SPEED"]] == ["█" * 12, "█" * 6, "█" * 3]
    assert (first["OUT"], third["OUT"], third["IN"], third["LATENCY"]) == (
        "940", "94", "94", "0.1 ms",
    )  # fmt: skip
    assert "OUT" not in node_rows(closet(PC()))[0]


def test_a_sum_is_compared_with_what_the_wires_allow() -> None:
    takes = {"TAKES": "200 ms", "OF THE LIMIT": "59 %"}
    assert sum_row(SLOW_THIRD, SLOW_THIRD.allreduce[0]) == {"SUM OF": "1 MiB", **takes}
    small = sum_row(SLOW_THIRD, AllreduceTime(1 << 10, 0.001))
    assert small == {"SUM OF": "1 KiB", "TAKES": "1 ms", "OF THE LIMIT": "-"}


def plain_map(count: int) -> list[str]:
    measured = closet(PC(out=94, into=94), *[PC()] * (count - 1))
    return [
        click.unstyle(line)
        for line in heat_map([node.name for node in measured.nodes], measured.wires)
    ]


def test_the_map_of_few_nodes_has_numbers_and_shades() -> None:
    head, first, second, _ = plain_map(3)
    assert head.split() == ["FROM", "n1", "n2", "n3"]
    assert first.split() == ["n1", "-", "94", "░", "94", "░"]
    assert second.split() == ["n2", "94", "░", "-", "940", "█"]


def test_the_map_of_many_nodes_has_shades_alone_and_straight_columns() -> None:
    lines = plain_map(12)
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split() == ["2", "n2", "░░", "-", *["██"] * 10]


def test_the_last_measurements_are_shown_without_measuring(
    beowulf: Beowulf, state_home: Path
) -> None:
    path = kept(state_home)
    answer = beowulf("bench", "--last", "--cluster", "local")
    assert answer.returncode == 0, answer.stderr
    assert "✗ n3's wire carries 94 Mbit/s where the others carry 940" in answer.stdout
    assert "measured " in answer.stderr
    assert (path / "measured.png").exists()
    document = json.loads(beowulf("bench", "--last", "--json").stdout)
    assert (document["schema"], document["cluster"], document["job"]) == (1, None, None)
    assert document["measured"]["nodes"][0]["name"] == "n1"
    assert [each["is_good"] for each in document["findings"]] == [False, True]
    assert document["picture"] == str(path / "measured.png")


def test_without_measurements_a_line_says_how_to_get_some(beowulf: Beowulf) -> None:
    answer = beowulf("bench", "--last")
    assert_refused(
        answer, "not measured yet", "beowulf bench --cluster local", status=1, state=None
    )


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": 1}', b"[]"])
def test_damaged_measurements_are_none(beowulf: Beowulf, state_home: Path, damage: bytes) -> None:
    (kept(state_home) / "measured.json").write_bytes(damage)
    assert beowulf("bench", "--last").returncode == 1


@pytest.fixture
def configured(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has one cluster, whose head this computer is."""
    config = tmp_path / "config" / "beowulf" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('default = "lab"\n[clusters.lab]\nhost = "local"\n')
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def test_what_another_computer_measured_is_asked_of_the_cluster(
    beowulf: Beowulf, configured: dict[str, str], tmp_path: Path, state_home: Path
) -> None:
    nothing = beowulf("bench", "--last", env=configured)
    assert_refused(nothing, "the cluster lab was not measured yet", status=1, state=None)
    on_the_head = tmp_path / "home" / "beowulf" / "measured.json"
    on_the_head.parent.mkdir()
    write_json(on_the_head, SLOW_THIRD.to_json())
    answer = beowulf("bench", "--last", "--json", env=configured)
    document = json.loads(answer.stdout)
    assert (document["cluster"], len(document["measured"]["nodes"])) == ("lab", 3)
    assert (state_home / "beowulf" / "clusters" / "lab" / "measured.json").exists()


def test_where_no_node_is_free_nothing_is_measured(
    beowulf: Beowulf, configured: dict[str, str], tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    says(programs, "scontrol", NODES.replace("State=IDLE", "State=ALLOCATED"))
    says(programs, "squeue", "")
    paths = {"PATH": f"{programs}:{os.environ['PATH']}"}
    answer = beowulf("bench", env={**configured, **paths})
    assert_refused(answer, "no node is free", "beowulf nodes", status=1, state=None)

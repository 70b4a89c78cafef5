"""What ``beowulf lab`` shows while it works, and how it lists nodes."""

from __future__ import annotations

import io
import re
import threading

import pytest
from rich.console import Console

from beowulf.cli.lab_output import Progress, print_nodes
from beowulf.lab.machine import Machine
from beowulf.lab.network import Cable
from beowulf.lab.status import NodeStatus
from tests.unit.lab.plans import NODE1, NODE2


def rendered(progress: Progress) -> list[str]:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with console.capture() as captured:
        console.print(progress._table())
    return captured.get().splitlines()


def test_without_a_terminal_each_thing_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.report("image", "building")
        progress.report("node1", "booting")
        progress.report("node1", "ready")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [re.sub(r"^ +[0-9.]+ s  ", "", line) for line in shown.err.splitlines()] == [
        "image: building", "node1: booting", "node1: ready"
    ]  # fmt: skip


def test_the_first_node_is_neither_the_image_nor_the_lab() -> None:
    progress = Progress()
    for who in ("lab", "image", "node2", "node1"):
        progress.report(who, "something")
    assert progress.first == "node2"


def test_a_table_has_a_row_for_each_and_for_those_that_wait() -> None:
    progress = Progress(["node1", "node2"])
    progress.report("node2", "booting")
    progress.report("node2", "[bold]waiting for a login")
    rows = [line.split("s  ", 1)[1].split(maxsplit=1) for line in rendered(progress)]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["node1", "waiting"], ["node2", "[bold]waiting for a login"]
    ]  # fmt: skip


def test_the_clock_of_what_has_ended_stands_still() -> None:
    progress = Progress()
    for who, what in (("a", "ready"), ("b", "saved as x"), ("c", "booting")):
        progress.report(who, what)
    progress.began -= 7
    progress.states = {who: (what, since - 7) for who, (what, since) in progress.states.items()}
    clocks = [float(line.split()[0]) for line in rendered(progress)]
    assert clocks[0] < 1
    assert clocks[1] < 1
    assert clocks[2] >= 7


def test_many_threads_may_report(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        threads = [
            threading.Thread(target=progress.report, args=(f"node{n}", "ready")) for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split("  ")[-1] for line in lines) == sorted(
        f"node{n}: ready" for n in range(20)
    )


def test_nodes_are_listed_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    large = Machine("a-long-name", "10.77.0.113", "02:00:00:00:00:13", 16_384)
    print_nodes(
        [
            NodeStatus(NODE1, "on", Cable(), "bare", 12.34, 7),
            NodeStatus(NODE2, "off", Cable(connected=False, rate="1mbit"), "bare", 0.04, None),
            NodeStatus(large, "paused", Cable(rate="100mbit"), "prepared", 1234.5, 9),
        ]
    )
    assert capsys.readouterr().out == (
        "NODE         STATE   ADDRESS        MEMORY  CABLE       IMAGE          DISK\n"
        "node1        on      10.77.0.11     512 MB  connected   bare        12.3 MB\n"
        "node2        off     10.77.0.12     256 MB  cut, 1mbit  bare         0.0 MB\n"
        "a-long-name  paused  10.77.0.113  16384 MB  100mbit     prepared  1234.5 MB\n"
    )

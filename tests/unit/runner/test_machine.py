"""Jobs are fitted on one machine, or told why they do not fit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from beowulf.errors import InvalidInput
from beowulf.runner import machine
from beowulf.runner.machine import Layout, Machine, cgroup_cores, lay_out, resolve, this_machine
from beowulf.runner.spec import Resources

if TYPE_CHECKING:
    from pathlib import Path

LAPTOP = Machine(cores=8, memory_mb=16_000)


@pytest.mark.parametrize(
    ("resources", "cores", "layout"),
    [
        (Resources(), 1, Layout(1, 1)),
        (Resources(), 2, Layout(2, 1)),
        (Resources(), 8, Layout(4, 2)),
        (Resources(), 64, Layout(4, 16)),
        (Resources(ranks=3), 8, Layout(3, 2)),
        (Resources(ranks=16), 8, Layout(16, 1)),
        (Resources(threads_per_rank=8), 8, Layout(4, 8)),
        (Resources(ranks=1, threads_per_rank=3), 8, Layout(1, 3)),
        (Resources(nodes="1"), 8, Layout(1, 8)),
        (Resources(nodes="1", ranks_per_node=2), 8, Layout(2, 4)),
        (Resources(nodes="1-4", ranks_per_node=3), 8, Layout(3, 2)),
        (Resources(ranks=16), 1, Layout(16, 1)),
    ],
)
def test_layouts(resources: Resources, cores: int, layout: Layout) -> None:
    assert lay_out(resources, Machine(cores=cores, memory_mb=16_000)) == layout


@pytest.mark.parametrize(
    ("resources", "field", "remedy"),
    [
        (Resources(ranks=65), "resources.ranks", "at most 64"),
        (Resources(nodes="1", ranks_per_node=65), "resources.ranks", "at most 64"),
        (Resources(nodes="2"), "resources.nodes", '"1-4"'),
        (Resources(nodes="2-4"), "resources.nodes", '"1-4"'),
        (
            Resources(ranks=2, memory_per_rank_mb=8001),
            "resources.memory_per_rank_mb",
            "less memory",
        ),
        (Resources(memory_per_rank_mb=4001), "resources.memory_per_rank_mb", "less memory"),
    ],
)
def test_what_does_not_fit_is_refused(resources: Resources, field: str, remedy: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        lay_out(resources, LAPTOP)
    assert refusal.value.field == field
    assert remedy in refusal.value.remedy


def test_the_most_that_fits_fits() -> None:
    assert lay_out(Resources(ranks=64), LAPTOP).ranks == 64
    assert lay_out(Resources(ranks=2, memory_per_rank_mb=8000), LAPTOP).ranks == 2


def test_what_was_left_open_is_filled_in() -> None:
    asked = Resources(nodes="1-4", ranks_per_node=2, time_limit="2h", memory_per_rank_mb=5)
    assert resolve(asked, Layout(2, 4)) == Resources(
        ranks=2, threads_per_rank=4, time_limit="2h", memory_per_rank_mb=5
    )


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000", 16),
        ("", None),
        ("garbage", None),
        ("100000", None),
        ("-1 100000", None),
    ],
)
def test_cores_that_a_cgroup_grants(cpu_max: str, cores: int | None) -> None:
    assert cgroup_cores(cpu_max) == cores


def test_this_machine_has_cores_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP_CPU_LIMIT", tmp_path / "missing")
    here = this_machine()
    assert here.cores == len(os.sched_getaffinity(0))
    assert here.memory_mb > 100


def test_a_cgroup_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("100000 100000\n")
    monkeypatch.setattr(machine, "CGROUP_CPU_LIMIT", limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert this_machine().cores == 1
    limit.write_text("max 100000\n")
    assert this_machine().cores == 8
    limit.write_text("6400000 100000\n")
    assert this_machine().cores == 8

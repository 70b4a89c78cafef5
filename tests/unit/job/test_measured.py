"""The file of measurements: what is written is read, and what is damaged is none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.durable import write_json
from beowulf.job.directory import JobDirectory
from beowulf.job.measured import AllreduceTime, newest_of, parse_measured, read_measured
from tests.unit.hardware.closet import PC, closet

MEASURED = closet(PC(), PC(gflops=50, duplex="half"), sums=(AllreduceTime(1024, 0.001),))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "measured.json", MEASURED.to_json())
    assert read_measured(tmp_path / "measured.json") == MEASURED
    assert read_measured(tmp_path / "other.json") is None


def test_it_lies_beside_the_jobs_where_each_of_them_finds_it() -> None:
    job = JobDirectory(Path("/home/ada/beowulf/jobs/7"))
    assert newest_of(job.path.parent) == Path("/home/ada/beowulf/measured.json")
    assert job.measured == job.path / "measured.json"


def test_its_age_is_never_negative() -> None:
    noon = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert MEASURED.age_s(noon.replace(hour=13)) == 3600
    assert MEASURED.age_s(noon.replace(hour=11)) == 0


def damaged(key: str, value: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(MEASURED.to_json()))
    *path, last = key.split(".")
    place: Any = document
    for part in path:
        place = place[int(part)] if part.isdecimal() else place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2),
        ("schema", None),
        ("measured_at", "yesterday"),
        ("measured_at", "2026-11-25T12:00:00"),
        ("measured_at", 5),
        ("nodes", 5),
        ("nodes.0.flops", 0),
        ("nodes.0.flops", float("nan")),
        ("nodes.1.ports", None),
        ("wires", ["fast"]),
        ("wires.0.bytes_per_s", -1),
        ("wires.0.latency_s", "x"),
        ("allreduce.0.seconds", float("inf")),
    ],
)
def test_what_is_damaged_is_none(key: str, value: Any) -> None:
    assert parse_measured(damaged(key, value)) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_anything_else_is_none(document: Any) -> None:
    assert parse_measured(document) is None

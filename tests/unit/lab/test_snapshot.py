"""What a snapshot keeps besides the disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from beowulf.lab.directory import LabDirectory
from beowulf.lab.snapshot import _restore_records, _save_records

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lab(tmp_path: Path) -> LabDirectory:
    (tmp_path / "lab" / "snapshots" / "one").mkdir(parents=True)
    return LabDirectory(tmp_path / "lab")


def records(lab: LabDirectory) -> dict[str, str]:
    return {path.name: path.read_text() for path in lab.measured.glob("*")}


def test_the_playbooks_remember_what_they_did_when_it_was_saved(lab: LabDirectory) -> None:
    lab.measured.mkdir()
    (lab.measured / "node1.json").write_text("989")
    _save_records(lab, lab.snapshots / "one")
    (lab.measured / "node1.json").write_text("980")
    (lab.measured / "node4.json").write_text("970")
    _restore_records(lab, lab.snapshots / "one")
    assert records(lab) == {"node1.json": "989"}


def test_what_was_found_out_since_is_forgotten_if_nothing_was_known_then(lab: LabDirectory) -> None:
    _save_records(lab, lab.snapshots / "one")
    lab.measured.mkdir()
    (lab.measured / "node1.json").write_text("980")
    _restore_records(lab, lab.snapshots / "one")
    assert records(lab) == {}


def test_a_snapshot_without_records_takes_none_away(lab: LabDirectory) -> None:
    lab.measured.mkdir()
    (lab.measured / "node1.json").write_text("980")
    _restore_records(lab, lab.snapshots / "one")
    assert records(lab) == {"node1.json": "980"}

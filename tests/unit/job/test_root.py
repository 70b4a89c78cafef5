"""IDs count up, and none is given twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beowulf.job.root import JobRoot

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory


@pytest.fixture
def root(tmp_path: Path) -> JobRoot:
    return JobRoot(tmp_path / "jobs", "look elsewhere")


def create(root: JobRoot) -> JobDirectory:
    directory, lock = root.create(lambda _staging: None)
    os.close(lock)
    return directory


def test_the_id_of_a_deleted_job_is_not_given_again(root: JobRoot) -> None:
    assert [create(root).job_id for _ in range(3)] == ["1", "2", "3"]
    shutil.rmtree(root.path / "3")
    assert create(root).job_id == "4"


@pytest.mark.parametrize("damaged", ["", "x", "9" * 200, "-5", "3\n4"])
def test_a_damaged_memory_of_ids_is_done_without(root: JobRoot, damaged: str) -> None:
    create(root)
    (root.path / ".lock").write_text(damaged)
    assert create(root).job_id == "2"


def test_a_job_is_named_right_before_it_can_be_seen(root: JobRoot) -> None:
    seen: list[tuple[str, bool, list[str]]] = []

    def name(staging: JobDirectory, job_id: str) -> None:
        seen.append((job_id, staging.path.is_dir(), root.ids()))

    _, lock = root.create(lambda _staging: None, name)
    os.close(lock)
    assert seen == [("1", True, [])]


def test_a_job_that_cannot_be_named_leaves_nothing(root: JobRoot) -> None:
    def name(_staging: JobDirectory, _job_id: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        root.create(lambda _staging: None, name)
    assert root.ids() == []
    assert not list(root.path.glob(".staging*"))


def test_what_a_job_is_made_of_outlives_a_power_cut_before_it_can_be_seen(
    root: JobRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(staging: Path) -> None:
        assert (staging / "code").read_text() == "train"
        assert root.ids() == []
        looked.append(staging)

    def stage(staging: JobDirectory) -> None:
        staging.code.write_text("train")

    looked: list[Path] = []
    monkeypatch.setattr("beowulf.job.root.sync_file_system", look)
    _, lock = root.create(stage)
    os.close(lock)
    assert len(looked) == 1

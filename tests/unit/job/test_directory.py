"""One class owns every name in a job directory, and no two things share one."""

from __future__ import annotations

from pathlib import Path

import pytest

from beowulf.job.directory import JobDirectory

PROPERTIES = [name for name, value in vars(JobDirectory).items() if isinstance(value, property)]


def test_every_file_has_a_name_of_its_own_in_the_directory() -> None:
    directory = JobDirectory(Path("/jobs/12"))
    elsewhere = {"job_id", "newest_measured"}  # no file, and a file that all jobs share
    paths = [getattr(directory, name) for name in PROPERTIES if name not in elsewhere]
    assert len(paths) > 12
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {Path("/jobs/12")}


def test_names_that_scripts_outside_rely_on() -> None:
    directory = JobDirectory(Path("/jobs/12"))
    assert directory.job_id == "12"
    names = {
        "spec": "job.toml", "code": "code", "batch_script": "batch.sh", "log": "output.log",
        "events": "events.jsonl", "metrics": "metrics.jsonl", "checkpoints": "checkpoints",
        "result": "result.json", "exit_code": "exit_code", "done": "done",
    }  # fmt: skip
    assert {name: getattr(directory, name).name for name in names} == names
    assert directory.heartbeat(3) == Path("/jobs/12/heartbeat/3")


def test_a_rank_finds_its_job_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEOWULF_JOB_DIR", "/jobs/12")
    assert JobDirectory.of_this_rank() == JobDirectory(Path("/jobs/12"))


@pytest.mark.parametrize("value", ["", None])
def test_a_script_started_by_hand_has_no_job(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("BEOWULF_JOB_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("BEOWULF_JOB_DIR", value)
    assert JobDirectory.of_this_rank() is None


def test_pictures_are_listed_by_name(job: JobDirectory) -> None:
    for name in ("loss.png", "accuracy.png", "loss.txt"):
        (job.path / name).touch()
    assert [path.name for path in job.pictures()] == ["accuracy.png", "loss.png"]

"""A job's files are brought to where a person wants them, those of this computer's jobs too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.unit.cli.conftest import assert_refused
from tests.unit.cli.test_listings import end, make_job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Beowulf


def test_files_are_listed_as_they_come(beowulf: Beowulf, state_home: Path, tmp_path: Path) -> None:
    job = make_job(state_home, 1)
    end(job, "COMPLETED", 0)
    job.metrics.write_text("{}\n")
    (job.path / "code").mkdir()
    (job.path / "code" / "train.py").touch()
    answer = beowulf("fetch", "1", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "job-1/metrics.jsonl" in answer.stdout.splitlines()
    assert (tmp_path / "job-1/metrics.jsonl").read_text() == "{}\n"
    assert not (tmp_path / "job-1/code").exists()
    again = json.loads(beowulf("fetch", "--code", "--to", "job-1", "--json", cwd=tmp_path).stdout)
    assert again["fetch"]["brought"] == ["code/train.py"]
    assert "metrics.jsonl" in again["fetch"]["files"]
    assert again["fetch"]["directory"] == str(tmp_path / "job-1")


def test_a_target_that_is_a_file_is_refused(
    beowulf: Beowulf, state_home: Path, tmp_path: Path
) -> None:
    make_job(state_home, 1)
    (tmp_path / "here").touch()
    answer = beowulf("fetch", "1", "--to", "here", cwd=tmp_path)
    assert_refused(answer, "--to", "is a file", state=None)


def test_a_job_that_there_is_not(beowulf: Beowulf, state_home: Path) -> None:
    del state_home
    assert_refused(beowulf("fetch", "7"), "no job '7'", status=4, state=None)


def test_shell_and_tunnel_lead_to_jobs_that_run(beowulf: Beowulf, state_home: Path) -> None:
    end(make_job(state_home, 1), "COMPLETED", 0)
    for words in (("shell", "1"), ("tunnel", "1", "6006")):
        assert_refused(beowulf(*words), "job 1 is COMPLETED; name one that runs", state=None)


def test_a_sweep_that_cannot_be_read_starts_nothing(
    beowulf: Beowulf, state_home: Path, script: Path
) -> None:
    answer = beowulf("submit", script, "--array", "lr")
    assert_refused(answer, "--array", "write it as --array lr=0.1,0.01", state=state_home)


def test_nothing_waits_for_another_job_on_one_computer(
    beowulf: Beowulf, state_home: Path, script: Path
) -> None:
    answer = beowulf("submit", script, "--after", "1")
    assert_refused(answer, "--after: this computer has no queue", state=state_home)


def test_a_cluster_that_there_is_not(beowulf: Beowulf, state_home: Path) -> None:
    del state_home
    for verb in ("jobs", "fetch", "shell"):
        assert_refused(beowulf(verb, "--cluster", "closet"), "closet", status=4, state=None)

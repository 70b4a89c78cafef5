"""``beowulf predict``: where its figures come from, what it shows, what it asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from beowulf.cli.predict import rows, shown_counts
from beowulf.durable import write_json
from beowulf.hardware.prediction import STRATEGIES, cluster_of, predict
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.figures import RankSpeed, TrainingFigures
from beowulf.job.measured import Measured
from beowulf.limits.quantities import Job
from tests.conftest import Beowulf
from tests.unit.cli.conftest import assert_refused
from tests.unit.hardware.closet import PC, closet

THREE = closet(PC(gflops=40), PC(gflops=20), PC(gflops=10))
GIVEN = ("--batch", "256", "--gradients-mb", "2.6", "--samples-per-s", "400")


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "work" / "job.toml"
    path.parent.mkdir()
    path.write_text('name = "digits"\ncommand = ["python", "train.py"]\n')
    return path


def keep(state_home: Path, measured: Measured = THREE) -> None:
    (state_home / "beowulf").mkdir(exist_ok=True)
    write_json(state_home / "beowulf" / "measured.json", measured.to_json())


def ended_job(state_home: Path, number: int, name: str, result: dict[str, Any]) -> None:
    job = JobDirectory(state_home / "beowulf" / "jobs" / str(number))
    job.heartbeats.mkdir(parents=True)
    record_event(job, "submitted", name=name, ranks=1, attempt=1)
    write_json(job.result, result)
    record_event(job, "ended", state="COMPLETED", reason="", exit_code=0)
    job.exit_code.write_text("0\n")


def test_figures_that_are_given_make_a_table(
    beowulf: Beowulf, state_home: Path, job_file: Path
) -> None:
    keep(state_home)
    answer = beowulf("predict", job_file, "--nodes", "1-6", *GIVEN)
    assert answer.returncode == 0, answer.stderr
    head, *lines = answer.stdout.splitlines()
    assert head.split()[:3] == ["NODES", "STEP", "SAMPLES/S"]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5", "6"]
    assert lines[0].split()[1:3] == ["640", "ms"]
    assert "digits: 256 samples and 2.6 MB of gradients per step (as given)" in answer.stderr
    assert "3 nodes measured; beyond that, the same ones again are presumed" in answer.stderr
    assert (state_home / "beowulf" / "predict-digits.png").exists()


def test_figures_come_from_the_newest_job_of_the_name_that_has_some(
    beowulf: Beowulf, state_home: Path, job_file: Path
) -> None:
    keep(state_home)
    told = TrainingFigures(128, 1_000_000, (RankSpeed("n1", 300.0),)).to_json()
    ended_job(state_home, 1, "digits", {"training": told | {"global_batch": 64}})
    ended_job(state_home, 2, "digits", {"training": told})
    ended_job(state_home, 3, "digits", {"final_loss": 0.5})
    ended_job(state_home, 4, "other", {"training": told | {"global_batch": 32}})
    document = json.loads(beowulf("predict", job_file, "--json").stdout)
    assert (document["schema"], document["name"], document["batch"]) == (1, "digits", 128)
    assert document["figures_from"] == "as job 2 told"
    assert document["nodes_per_s"] == {"n1": 300.0, "n2": 150.0, "n3": 75.0}
    assert len(document["predictions"]) == 64 * len(STRATEGIES)
    again = json.loads(beowulf("predict", job_file, "--batch", "512", "--json").stdout)
    assert (again["batch"], again["figures_from"]) == (512, "as job 2 told, and as given")


def test_a_machine_that_is_faster_alone_is_said(
    beowulf: Beowulf, state_home: Path, job_file: Path
) -> None:
    keep(state_home)
    answer = beowulf("predict", job_file, *GIVEN, "--wire-mbit", "0.5", "--nodes", "2-4")
    assert "n1 alone is faster than any number of nodes here" in answer.stderr


def test_what_is_missing_is_named_with_the_command_that_gets_it(
    beowulf: Beowulf, state_home: Path, job_file: Path
) -> None:
    predict = ("predict", job_file)
    assert_refused(
        beowulf(*predict), "not measured yet", "beowulf bench --cluster local", status=1, state=None
    )
    keep(state_home)
    assert_refused(
        beowulf(*predict, "--batch", "5"),
        "--gradients-mb, --samples-per-s", "no earlier job called digits", "beowulf submit",
        state=None,
    )  # fmt: skip
    keep(state_home, closet(PC()))
    assert_refused(beowulf(*predict, *GIVEN), "--wire-mbit", "beowulf bench", state=None)
    assert beowulf(*predict, *GIVEN, "--nodes", "1").returncode == 0
    assert beowulf(*predict, *GIVEN, "--wire-mbit", "94").returncode == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--nodes", "0"), "--nodes"),
        (("--nodes", "8-2"), "--nodes"),
        (("--batch", "0"), "--batch"),
        (("--gradients-mb", "much"), "not a number above 0"),
        (("--samples-per-s", "-3"), "not a number above 0"),
        (("--wire-mbit", "nan"), "not a number above 0"),
        (("--strategy", "magic"), "--strategy"),
    ],
)
def test_bad_options_are_one_line(
    beowulf: Beowulf, state_home: Path, job_file: Path, words: tuple[str, ...], complaint: str
) -> None:
    keep(state_home)
    assert_refused(beowulf("predict", job_file, *words), complaint, state=None)


def test_a_job_that_is_not_there_is_one_line(beowulf: Beowulf, tmp_path: Path) -> None:
    assert_refused(beowulf("predict", tmp_path / "no.toml"), "no.toml", state=None)
    assert_refused(beowulf("predict", tmp_path / "no.py"), "no.py", state=None)


def test_many_numbers_of_nodes_are_shown_in_growing_steps() -> None:
    assert shown_counts(range(3, 9)) == [3, 4, 5, 6, 7, 8]
    shown = shown_counts(range(5, 1001))
    assert (shown[0], shown[-1]) == (5, 1000)
    assert len(shown) < 25


def test_bars_are_as_long_as_speeds() -> None:
    cluster = cluster_of(THREE, {"n1": 400.0})
    table = rows(predict(cluster, Job(256, 1e5), range(1, 4), list(STRATEGIES.values())), "dense")
    lengths = [line["CURVE"].count("█") for line in table]
    assert lengths == sorted(lengths)
    assert len(table[-1]["CURVE"]) == 24

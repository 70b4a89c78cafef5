"""How often each verb goes to the head and back: a count, where a time would depend on the day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.cli import main
from beowulf.head.records import job_root
from beowulf.job.events import record_event
from beowulf.runner.slurm import SlurmBackend
from tests.unit.head.conftest import home, slurm
from tests.unit.runner.weather import Weather, backend, weather, work

if TYPE_CHECKING:
    from beowulf.job.record import JobRecord
    from beowulf.runner.spec import JobSpec
    from tests.unit.head.conftest import FakeSlurm

__all__ = ["backend", "home", "slurm", "weather", "work"]


@pytest.fixture(autouse=True)
def chosen(backend: SlurmBackend, weather: Weather, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb's cluster is this one, and the head's program is there already."""
    for name in ("submit", "status", "jobs", "logs", "cancel", "wait", "fetch"):
        monkeypatch.setattr(f"beowulf.cli.{name}.open_backend", lambda _: backend)
    backend.records()
    weather.begun = 0


def submit(work: Path, *words: str) -> int:
    return main.run(["submit", "--detach", *words, str(work / "train.py")])


def fail() -> None:
    directory = job_root().find("1")
    directory.log.write_text("its last words\n")
    record_event(directory, "ended", state="FAILED", reason="", exit_code=3)
    directory.exit_code.write_text("3\n")


def test_submitting_goes_there_once(
    weather: Weather, work: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(work, "--ranks", "1") == 0
    assert capsys.readouterr().out == "1\n"
    assert weather.begun == 1
    assert [slurm.calls(name) for name in ("squeue", "sinfo")] == [[], []]
    assert [words[0] for words in slurm.calls("sbatch")] == ["--test-only", "--parsable"]


def test_who_takes_any_node_says_so_in_the_job(work: Path) -> None:
    assert submit(work, "--any-node") == 0
    assert submit(work) == 0
    wanted = [job_root().find(job_id).spec.read_text() for job_id in ("1", "2")]
    assert ["leave_out = false" in text for text in wanted] == [True, False]


def test_who_asks_for_every_node_has_them_counted(work: Path, slurm: FakeSlurm) -> None:
    assert submit(work) == 0
    assert len(slurm.calls("sinfo")) == 1
    assert "#SBATCH --nodes=2\n" in job_root().find("1").batch_script.read_text()


def test_a_sweep_goes_there_once_for_each_job(weather: Weather, work: Path) -> None:
    assert submit(work, "--ranks", "1", "--array", "lr=1,2,3") == 0
    assert weather.begun == 3


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["status"], 1), (["status", "--json"], 1), (["jobs"], 1), (["logs", "1"], 1),
        (["wait", "1"], 1), (["cancel", "1"], 1), (["logs", "-f", "1"], 2),
    ],
)  # fmt: skip
def test_every_other_verb_goes_there_once(
    weather: Weather,
    work: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    times: int,
) -> None:
    submit(work, "--ranks", "1")
    fail()
    weather.begun = 0
    main.run(words)
    assert weather.begun == times
    if words == ["status"]:
        assert "its last words" in capsys.readouterr().out


def test_who_stays_with_a_job_is_told_its_id_before_anything_is_asked_again(
    backend: SlurmBackend,
    weather: Weather,
    work: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(*_: object) -> None:
        assert weather.begun == 1
        assert "follow: beowulf logs -f 1" in capsys.readouterr().err
        raise KeyboardInterrupt

    monkeypatch.setattr(type(backend), "follow", lost)
    assert main.run(["submit", "--ranks", "1", str(work / "train.py")]) == 130


def test_a_sweep_of_which_one_is_refused_still_tells_of_those_before(
    work: Path,
    slurm: FakeSlurm,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really = SlurmBackend.submit

    def then_refused(self: SlurmBackend, spec: JobSpec, *rest: Any) -> JobRecord:
        if spec.command[-1] == "3":
            slurm.answer("test", status=1, errors="allocation failure: Invalid qos\n")
        return really(self, spec, *rest)

    monkeypatch.setattr(SlurmBackend, "submit", then_refused)
    words = ("--ranks", "1", "--array", "lr=1,2,3,4")
    assert submit(work, *words, "--json") == 2
    told = capsys.readouterr()
    assert [job["settings"] for job in json.loads(told.out)["jobs"]] == [{"lr": "1"}, {"lr": "2"}]
    assert "not submitted: --lr 3: " in told.err
    assert told.err.splitlines()[-1].startswith("beowulf: ")


def test_each_cluster_s_job_1_is_fetched_to_a_place_of_its_own(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(work, "--ranks", "1")
    monkeypatch.chdir(tmp_path)
    assert main.run(["fetch", "1"]) == 0
    assert (tmp_path / "lab-job-1/events.jsonl").exists()
    assert not (tmp_path / "job-1").exists()

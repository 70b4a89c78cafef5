"""The job that measures, against the real program for the head and a Slurm of scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beowulf.durable import write_json
from beowulf.errors import CommandFailed
from beowulf.job.directory import JobDirectory
from beowulf.job.figures import RankSpeed, TrainingFigures
from beowulf.job.measured import Measured
from beowulf.runner.figures import figures_of_earlier_job
from beowulf.runner.measuring import kept_at, measure, measuring_job, read_kept
from tests.unit.hardware.closet import PC, closet
from tests.unit.head.conftest import home, slurm
from tests.unit.runner.test_slurm import SPEC, backend, end, weather, work

if TYPE_CHECKING:
    from beowulf.job.follow import News
    from beowulf.runner.slurm import SlurmBackend

__all__ = ["backend", "home", "slurm", "weather", "work"]

FOUND = closet(PC(), PC(), PC())


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's own state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


class Slurm:
    """Runs the job as soon as somebody looks at it."""

    def __init__(self, home: Path, found: Measured | None, state: str = "COMPLETED") -> None:
        self.job = JobDirectory(home / "beowulf/jobs/1")
        self.found = found
        self.state = state
        self.said = b""

    def __call__(self, news: News) -> None:
        self.said += news.log
        if self.job.exit_code.exists():
            return
        self.job.log.write_bytes(b"measuring how fast 3 nodes compute\n")
        if self.found is not None:
            write_json(self.job.measured, self.found.to_json())
        end(self.job, self.state, 0 if self.state == "COMPLETED" else 1)


def test_what_the_job_found_is_kept_by_the_cluster_s_name(
    backend: SlurmBackend, home: Path, state: Path
) -> None:
    tell = Slurm(home, FOUND)
    found, record = measure(backend, 4, tell)
    assert (found, record.name, record.state) == (FOUND, "bench", "COMPLETED")
    assert tell.said == b"measuring how fast 3 nodes compute\n"
    assert kept_at("lab") == state / "beowulf/clusters/lab/measured.json"
    assert read_kept("lab") == FOUND
    assert read_kept("other") is None
    assert read_kept(None) is None


def test_the_job_takes_what_is_free_and_all_of_it(backend: SlurmBackend, home: Path) -> None:
    measure(backend, 4, Slurm(home, FOUND))
    job = JobDirectory(home / "beowulf/jobs/1")
    script = job.batch_script.read_text()
    options = re.findall(r"^#SBATCH --(\S+)", script, re.MULTILINE)
    assert {"nodes=1-4", "ntasks-per-node=1", "exclusive", "mem=0"} <= set(options)
    assert job.arguments.read_bytes() == b"python\0-m\0beowulf.measure\0"
    assert list(job.code.iterdir()) == []


def test_one_node_is_one_node() -> None:
    assert measuring_job(1).resources.nodes == "1"
    assert measuring_job(64).resources.nodes == "1-64"


def test_a_job_that_fails_says_where_to_look(backend: SlurmBackend, home: Path) -> None:
    with pytest.raises(CommandFailed, match=r"job 1 \(bench\) is FAILED.*beowulf logs 1.*check"):
        measure(backend, 4, Slurm(home, None, "FAILED"))
    assert read_kept("lab") is None


def test_a_job_that_leaves_nothing_is_a_failure(backend: SlurmBackend, home: Path) -> None:
    with pytest.raises(CommandFailed, match="left no measurements"):
        measure(backend, 4, Slurm(home, None))


def test_whoever_is_interrupted_leaves_no_job_behind(backend: SlurmBackend, home: Path) -> None:
    def interrupt(news: News) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(backend, 4, interrupt)
    assert backend.record("1").state == "CANCELLED"


def test_figures_of_an_earlier_job_come_from_the_cluster(
    backend: SlurmBackend, work: Path, home: Path
) -> None:
    assert figures_of_earlier_job(backend, SPEC.name) is None
    backend.submit(SPEC, work)
    job = JobDirectory(home / "beowulf/jobs/1")
    told = TrainingFigures(64, 1_000, (RankSpeed("node1", 10.0),))
    write_json(job.result, {"training": told.to_json()})
    end(job)
    assert figures_of_earlier_job(backend, SPEC.name) == ("1", told)
    assert figures_of_earlier_job(backend, "another") is None

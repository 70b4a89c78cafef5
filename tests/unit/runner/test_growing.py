"""A run that lost machines starts again with them once that pays, and not before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from beowulf.errors import LaunchError
from beowulf.job.directory import JobDirectory
from beowulf.job.events import read_events, record_event
from beowulf.job.heartbeat import Heartbeat
from beowulf.runner import growing
from beowulf.runner.growing import (
    ASK_S,
    BACK_S,
    Growth,
    growths,
    record_growth,
    saved_s,
    step_s_with_all,
    wanted,
    widest,
)
from beowulf.runner.site import Site

HERE = Site(3, ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"))
BEATS = [Heartbeat(rank, 1, host=f"node{rank}") for rank in range(3)]
LOST = {2}


class Probe:
    """Hosts of which a test says whether they answer."""

    def __init__(self, *out: str, asked: Sequence[str] = ("node0", "node1", "node2")) -> None:
        self.hosts = asked
        self.out = list(out)

    def out_of_service(self) -> list[str]:
        return self.out


class Slurm:
    """What Slurm would say: the job's machines, and those that do nothing."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.idle: list[str] = []
        self.asked: list[list[str]] = []
        self.is_there = True

    def hosts_given(self, slurm_job_id: int) -> list[str]:
        assert slurm_job_id == 7
        if not self.is_there:
            raise LaunchError("cannot ask Slurm")
        return self.given

    def hosts_idle(self, hosts: list[str]) -> list[str]:
        self.asked.append(hosts)
        return [host for host in self.idle if host in hosts]


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Slurm, of which a test says what it answers."""
    slurm = Slurm()
    for name in ("hosts_given", "hosts_idle"):
        monkeypatch.setattr(growing, name, getattr(slurm, name))
    return slurm


@pytest.fixture
def files(tmp_path: Path) -> JobDirectory:
    """A job whose steps took 1 s, and take 1.5 s since node2 was lost, with 100 steps left."""
    files = JobDirectory(tmp_path)
    record_event(files, "submitted", attempt=1)
    record_event(files, "started", attempt=1)
    record_event(files, "lost", ranks=[2], hosts=["node2"], step=10, attempt=1, step_s=1.0)
    write_metrics(files, step=20, total=120)
    write_checkpoint(files, 10)
    return files


def write_metrics(files: JobDirectory, step: int, total: int, step_s: float = 1.5) -> None:
    line = {"step": step, "total_steps": total, "step_s": step_s, "samples": 8}
    files.metrics.write_text(json.dumps(line) + "\n")


def write_checkpoint(files: JobDirectory, step: int) -> None:
    (files.checkpoints / f"step-{step:08d}").mkdir(parents=True)


def growth(files: JobDirectory, probe: Probe | None = None) -> Growth:
    return Growth(files, HERE, probe)  # type: ignore[arg-type]  # all that is asked of it


def test_what_is_saved_is_estimated_from_before_and_now(files: JobDirectory) -> None:
    assert saved_s(files) == pytest.approx(50)
    write_metrics(files, step=119, total=120)
    assert saved_s(files) == pytest.approx(0.5)
    write_metrics(files, step=20, total=120, step_s=0.9)
    assert saved_s(files) == 0


def test_nothing_is_known_without_a_loss_or_steps(tmp_path: Path) -> None:
    files = JobDirectory(tmp_path)
    assert saved_s(files) == 0
    record_event(files, "started", attempt=1)
    write_metrics(files, 1, 100)
    assert saved_s(files) == 0


def test_it_starts_again_at_a_checkpoint_once_the_machine_has_been_back_for_a_while(
    files: JobDirectory,
) -> None:
    grows = growth(files)
    assert not grows.look(0, BEATS, LOST)
    assert not grows.look(BACK_S - 3, BEATS, LOST)
    assert not grows.look(BACK_S, BEATS, LOST)
    assert not grows.look(BACK_S + 3, BEATS, LOST)
    write_checkpoint(files, 30)
    assert grows.look(BACK_S + 6, BEATS, LOST)


def test_nobody_is_missing(files: JobDirectory) -> None:
    grows = growth(files)
    for now in (0, BACK_S, BACK_S + 3):
        assert not grows.look(now, BEATS, set())


def test_it_stays_as_it_is_where_that_does_not_pay(files: JobDirectory) -> None:
    grows = growth(files)
    write_metrics(files, step=90, total=120)
    for now in (0, BACK_S, BACK_S + 3):
        assert not grows.look(now, BEATS, LOST)
    write_checkpoint(files, 91)
    assert not grows.look(BACK_S + 6, BEATS, LOST)


def test_a_machine_that_goes_again_is_not_back(files: JobDirectory) -> None:
    probe = Probe("node2")
    grows = growth(files, probe)
    for now in (0, BACK_S, 2 * BACK_S):
        assert not grows.look(now, BEATS, LOST)
    probe.out = []
    assert not grows.look(2 * BACK_S + 3, BEATS, LOST)
    probe.out = ["node2"]
    assert not grows.look(3 * BACK_S, BEATS, LOST)
    probe.out = []
    write_checkpoint(files, 40)
    assert not grows.look(3 * BACK_S + 6, BEATS, LOST)


@pytest.fixture
def smaller(tmp_path: Path) -> JobDirectory:
    """A job that was started again without node2; before, a step took 1 s."""
    files = JobDirectory(tmp_path)
    record_event(files, "submitted", attempt=1)
    record_event(files, "started", attempt=1)
    record_event(files, "restarting", attempt=2, left_out=["node2"], step_s=1.0)
    record_event(files, "started", attempt=2)
    record_event(files, "lost", ranks=[1], hosts=["node1"], step=10, attempt=2, step_s=1.5)
    write_metrics(files, step=20, total=220, step_s=3.0)
    write_checkpoint(files, 10)
    return files


def test_a_job_that_was_started_again_on_fewer_machines_grows_too(
    smaller: JobDirectory, slurm: Slurm
) -> None:
    site = Site(2, (), hosts=("node0", "node1"), slurm_job_id=7)
    slurm.given = ["node0", "node1", "node2"]
    assert saved_s(smaller) == pytest.approx(400)
    probe = Probe("node2")
    grows = Growth(smaller, site, probe, slurm.given)  # type: ignore[arg-type]  # likewise
    for now in (0, BACK_S, 2 * BACK_S):
        assert not grows.look(now, BEATS[:2], set())
    probe.out = []
    assert not grows.look(3 * BACK_S, BEATS[:1], set())  # not all have begun
    for now in (4 * BACK_S, 5 * BACK_S, 6 * BACK_S):
        assert not grows.look(now, BEATS[:2], set())
    write_checkpoint(smaller, 30)
    assert grows.look(7 * BACK_S, BEATS[:2], set())
    assert (grows.back, grows.missing) == (["node2"], {"node2"})
    assert record_growth(smaller, 2, ["node1", "node2"]) == "node1, node2 are back"
    assert saved_s(smaller) == 0  # with all of them: there is nothing to save


@pytest.fixture
def requeued(tmp_path: Path) -> JobDirectory:
    """A job that Slurm started again without node0, from which it was run; a step took 1 s."""
    files = JobDirectory(tmp_path)
    record_event(files, "submitted", attempt=1)
    record_event(files, "started", attempt=1, ranks=3, hosts=["node0", "node1", "node2"])
    record_event(files, "restarting", attempt=2, left_out=[], step_s=1.0)
    record_event(files, "started", attempt=2, ranks=2, hosts=["node1", "node2"])
    write_metrics(files, step=20, total=620)
    write_checkpoint(files, 10)
    return files


def test_a_job_that_slurm_started_again_grows_once_slurm_has_its_machine_again(
    requeued: JobDirectory, slurm: Slurm
) -> None:
    slurm.given = ["node1", "node2"]
    hosts = wanted(requeued, slurm.given)
    assert hosts == ["node1", "node2", "node0"]
    site = Site(2, (), hosts=("node1", "node2"), slurm_job_id=7)
    probe = Probe(asked=slurm.given)
    grows = Growth(requeued, site, probe, hosts)  # type: ignore[arg-type]  # likewise
    beats = [Heartbeat(rank, 1, host=f"node{rank + 1}") for rank in range(2)]
    for now in (0, 1, 3, ASK_S + 1, ASK_S + 3, 3 * ASK_S):
        assert not grows.look(now, beats, set())
    assert slurm.asked == [["node0"]] * 3
    slurm.idle = ["node0", "node3"]
    back = 5 * ASK_S
    for now in (back, back + BACK_S, back + BACK_S + 3):
        assert not grows.look(now, beats, set())
    write_checkpoint(requeued, 30)
    slurm.idle = []  # another job was given it meanwhile
    assert not grows.look(back + BACK_S + 6, beats, set())
    slurm.idle = ["node0"]
    back += BACK_S + 6 + 3 * ASK_S
    for now in (back, back + BACK_S, back + BACK_S + 3):
        assert not grows.look(now, beats, set())
    write_checkpoint(requeued, 40)
    assert grows.look(back + BACK_S + 6, beats, set())
    assert record_growth(requeued, 2, grows.back) == "node0 is back"
    assert saved_s(requeued) == 0


def test_slurm_is_not_asked_for_machines_that_would_not_pay(
    requeued: JobDirectory, slurm: Slurm
) -> None:
    write_metrics(requeued, step=600, total=620)
    site = Site(2, (), hosts=("node1", "node2"), slurm_job_id=7)
    grows = Growth(requeued, site, None, ["node0", "node1", "node2"])
    beats = [Heartbeat(rank, 1, host=f"node{rank + 1}") for rank in range(2)]
    for now in (0, ASK_S, 2 * ASK_S):
        assert not grows.look(now, beats, set())
    assert slurm.asked == []


def test_a_slurm_that_does_not_answer_gives_nothing(requeued: JobDirectory, slurm: Slurm) -> None:
    slurm.is_there = False
    site = Site(2, (), hosts=("node1", "node2"), slurm_job_id=7)
    grows = Growth(requeued, site, None, ["node0", "node1", "node2"])
    beats = [Heartbeat(rank, 1, host=f"node{rank + 1}") for rank in range(2)]
    for step in range(6):
        assert not grows.look(step * BACK_S, beats, set())
        write_checkpoint(requeued, 30 + step)


@pytest.fixture
def halved(tmp_path: Path) -> JobDirectory:
    """A job that goes on without two of its four machines: a step took 1 s, and takes 2 s now."""
    files = JobDirectory(tmp_path)
    record_event(files, "submitted", attempt=1)
    hosts = [f"node{number}" for number in range(4)]
    record_event(files, "started", attempt=1, ranks=4, hosts=hosts)
    record_event(files, "lost", ranks=[2, 3], hosts=hosts[2:], step=10, attempt=1, step_s=1.0)
    write_metrics(files, step=20, total=1020, step_s=2.0)
    write_checkpoint(files, 10)
    return files


def test_one_machine_of_two_that_is_back_is_used_again(halved: JobDirectory, slurm: Slurm) -> None:
    assert saved_s(halved) == pytest.approx(1000)
    assert saved_s(halved, 0.5) == pytest.approx(1000 * (2 - 1 / 0.75))
    hosts = tuple(f"node{number}" for number in range(4))
    site = Site(4, (), hosts=hosts, slurm_job_id=7)
    slurm.given = list(hosts)
    probe = Probe("node2", "node3", asked=hosts)
    grows = Growth(halved, site, probe, hosts)  # type: ignore[arg-type]  # likewise
    beats = [Heartbeat(rank, 1, host=host) for rank, host in enumerate(hosts)]
    assert not grows.look(0, beats, {2, 3})
    probe.out = ["node3"]
    for now in (10, 10 + BACK_S):
        assert not grows.look(now, beats, {2, 3})
    probe.out = []  # the other comes as well: it is waited for
    write_checkpoint(halved, 30)
    for now in (20 + BACK_S, 30 + BACK_S):
        assert not grows.look(now, beats, {2, 3})
    probe.out = ["node3"]  # only to go again
    assert not grows.look(40 + BACK_S, beats, {2, 3})
    write_checkpoint(halved, 40)
    assert grows.look(50 + BACK_S, beats, {2, 3})
    assert (grows.back, grows.missing) == (["node2"], {"node2", "node3"})


def test_what_is_still_missing_is_used_when_it_is_back(halved: JobDirectory) -> None:
    record_growth(halved, 1, ["node2"], ["node3"])
    write_metrics(halved, step=40, total=1040, step_s=1.5)
    assert saved_s(halved) == pytest.approx(500)
    started = ["node0", "node1", "node2"]
    assert wanted(halved, started) == [*started, "node3"]


def test_a_machine_that_slurm_does_not_give_is_not_wanted_twice(halved: JobDirectory) -> None:
    record_growth(halved, 1, ["node2"], ["node3"])
    assert wanted(halved, ["node0", "node1"]) == ["node0", "node1", "node3"]
    record_event(halved, "started", attempt=2, ranks=2, hosts=["node0", "node1"])
    assert wanted(halved, ["node0", "node1"]) == ["node0", "node1", "node3"]


def test_no_more_is_wanted_than_the_job_had(requeued: JobDirectory) -> None:
    assert widest(requeued) == (3, ["node0", "node1", "node2"])
    assert wanted(requeued, ["node1", "node2", "node3"]) == ["node1", "node2", "node3"]
    assert wanted(requeued, ["node3"]) == ["node3", "node0", "node1"]
    record_event(requeued, "resubmitted", attempt=3)
    assert widest(requeued) == (0, [])
    assert wanted(requeued, ["node3"]) == ["node3"]


def test_how_long_steps_take_is_known_with_all_ranks_only(requeued: JobDirectory) -> None:
    assert step_s_with_all(requeued) is None
    line = {"step": 20, "step_s": 1.5, "world_size": 3}
    requeued.metrics.write_text(json.dumps(line) + "\n")
    assert step_s_with_all(requeued) == 1.5
    requeued.metrics.write_text(json.dumps(line | {"world_size": 2}) + "\n")
    assert step_s_with_all(requeued) is None


def test_growing_is_told_and_counted(files: JobDirectory) -> None:
    assert growths(files) == []
    assert record_growth(files, 1, ["node2"]) == "node2 is back"
    assert read_events(files)[-1]["hosts"] == ["node2"]
    assert growths(files) == ["node2 is back"]
    record_event(files, "resubmitted", attempt=3)
    assert growths(files) == []

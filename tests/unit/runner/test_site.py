"""Where the ranks run decides what they find in their environment and what the story tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beowulf.job.directory import JobDirectory
from beowulf.runner import site
from beowulf.runner.site import given_by_slurm, launcher_environment, this_computer
from beowulf.runner.spec import JobSpec, Resources

SPEC = JobSpec(
    "digits",
    ("python", "train.py"),
    Resources(ranks=3),
    environment={"KEY": "value", "PATH": "/own"},
)
GIVEN = {
    "SLURM_JOB_ID": "71",
    "SLURM_JOB_NODELIST": "node[1-2]",
    "SLURM_TASKS_PER_NODE": "2,1",
    "SLURM_JOB_END_TIME": "1795493173",
}


def test_on_this_computer_the_ranks_meet_on_loopback() -> None:
    here = this_computer(SPEC)
    assert here.ranks == 3
    assert len(set(here.endpoints)) == 3
    assert {endpoint.partition(":")[0] for endpoint in here.endpoints} == {"127.0.0.1"}
    assert here.story == {"ranks": 3}
    assert not here.on_cluster


def test_slurm_s_hosts_are_in_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "hosts_of", {"node[1-2]": ["node1", "node2"]}.__getitem__)
    given = given_by_slurm(GIVEN)
    assert given.story == {"ranks": 3, "hosts": ["node1", "node2"], "slurm_job_id": 71}
    assert [endpoint.partition(":")[0] for endpoint in given.endpoints] == [
        "node1", "node1", "node2",
    ]  # fmt: skip
    assert given.on_cluster
    assert given.ends_at == 1795493173.0


def test_the_job_s_variables_win_over_the_submitter_s_and_beowulf_s_over_both() -> None:
    here = this_computer(SPEC)
    outer = {"PATH": "/usr/bin", "BEOWULF_JOB_DIR": "/of/another", "BEOWULF_ATTEMPT": "9"}
    found = launcher_environment(outer, SPEC, JobDirectory(Path("/job")), 2, here)
    assert found["PATH"] == "/own"
    assert found["KEY"] == "value"
    assert found["BEOWULF_JOB_DIR"] == "/job"
    assert (found["BEOWULF_ATTEMPT"], found["BEOWULF_RANKS"]) == ("2", "3")
    assert found["BEOWULF_ENDPOINTS"] == ",".join(here.endpoints)


def test_open_mpi_is_told_that_root_may_start_ranks_for_root_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = this_computer(SPEC)
    for user, told in ((0, True), (2001, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        found = launcher_environment({}, SPEC, JobDirectory(Path("/job")), 1, here)
        assert ("OMPI_ALLOW_RUN_AS_ROOT" in found) == told

"""Where the ranks run decides what they find in their environment and what the story tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beowulf.errors import LaunchError
from beowulf.job.directory import JobDirectory
from beowulf.runner import site
from beowulf.runner.site import anew, given_by_slurm, launcher_environment, this_computer
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


def test_another_attempt_is_made_without_the_hosts_that_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(site, "hosts_of", {"node[1-2]": ["node1", "node2"]}.__getitem__)
    given = given_by_slurm(GIVEN)
    job = JobDirectory(Path("/job"))
    assert "BEOWULF_HOSTFILE" not in launcher_environment({}, SPEC, job, 1, given)
    same = anew(given, SPEC, [])
    assert (same.ranks, same.hosts, same.is_whole) == (3, ("node1", "node2"), True)
    fewer = anew(given, SPEC, ["node1"])
    assert (fewer.ranks, fewer.hosts, fewer.ranks_per_host) == (1, ("node2",), (1,))
    assert [endpoint.partition(":")[0] for endpoint in fewer.endpoints] == ["node2"]
    assert fewer.ends_at == given.ends_at
    told = launcher_environment({}, SPEC, job, 2, fewer)
    assert (told["BEOWULF_RANKS"], told["BEOWULF_HOSTFILE"]) == ("1", "/job/hosts")
    assert not anew(fewer, SPEC, []).is_whole
    with pytest.raises(LaunchError, match="no host of this job is left"):
        anew(given, SPEC, ["node1", "node2"])


def test_on_this_computer_another_attempt_meets_at_other_ports() -> None:
    again = anew(this_computer(SPEC), SPEC, [])
    assert (again.ranks, again.on_cluster, again.is_whole) == (3, False, True)


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

"""A host that is lost while its job goes on is Slurm's again, unless it still serves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from beowulf.errors import LaunchError
from beowulf.job.heartbeat import Heartbeat
from beowulf.runner import giving_back
from beowulf.runner.giving_back import AGAIN_S, GivingBack
from beowulf.runner.reachable import HostProbe
from beowulf.runner.site import Site

HOSTS = ("head", "node1", "node2")
SITE = Site(4, (), hosts=HOSTS, slurm_job_id=7, ranks_per_host=(1, 1, 2))
BEATS = [Heartbeat(rank, 1, host=host) for rank, host in enumerate((*HOSTS, "node2"))]


class Slurm:
    """What Slurm has given the job, and was asked to keep."""

    def __init__(self) -> None:
        self.given = list(HOSTS)
        self.asked: list[list[str]] = []
        self.is_away = False

    def hosts_given(self, slurm_job_id: int) -> list[str]:
        assert slurm_job_id == 7
        if self.is_away:
            raise LaunchError("cannot ask Slurm")
        return self.given

    def keep_hosts(self, slurm_job_id: int, hosts: list[str]) -> None:
        assert slurm_job_id == 7
        self.asked.append(hosts)
        self.given = hosts


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    found = Slurm()
    monkeypatch.setattr(giving_back, "hosts_given", found.hosts_given)
    monkeypatch.setattr(giving_back, "keep_hosts", found.keep_hosts)
    return found


@pytest.fixture
def out_of_service(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    found: set[str] = set()
    monkeypatch.setattr(HostProbe, "out_of_service", lambda *_: list(found))
    return found


def test_a_host_out_of_service_is_given_back_once(slurm: Slurm, out_of_service: set[str]) -> None:
    back = GivingBack(SITE, HostProbe([]))
    out_of_service |= {"node1"}
    back.look(0.0, BEATS, set())
    assert slurm.asked == []  # the others have not agreed yet
    for now in (1.0, 2.0, 30.0):
        back.look(now, BEATS, {1})
    assert slurm.asked == [["head", "node2"]]


def test_a_host_that_serves_or_is_needed_is_kept(slurm: Slurm, out_of_service: set[str]) -> None:
    back = GivingBack(SITE, HostProbe([]))
    back.look(0.0, BEATS, {1})
    out_of_service |= {"head", "node2"}
    back.look(1.0, BEATS, {0, 2})  # rank 3 is on node2 too, and the supervisor on the head
    assert slurm.asked == []
    back.look(2.0, BEATS, {0, 2, 3})
    assert slurm.asked == [["head", "node1"]]


def test_slurm_is_asked_again_later_and_not_for_what_it_has_done(
    slurm: Slurm, out_of_service: set[str]
) -> None:
    back = GivingBack(SITE, HostProbe([]))
    out_of_service |= {"node1"}
    slurm.is_away = True
    back.look(0.0, BEATS, {1})
    slurm.is_away = False
    back.look(1.0, BEATS, {1})
    assert slurm.asked == []
    slurm.given = ["head", "node2"]
    back.look(AGAIN_S + 1, BEATS, {1})
    assert slurm.asked == []


def test_this_computer_s_jobs_have_nothing_to_give_back(
    slurm: Slurm, out_of_service: set[str]
) -> None:
    out_of_service |= {"node1"}
    GivingBack(replace(SITE, slurm_job_id=None), HostProbe([])).look(0.0, BEATS, {1})
    assert slurm.asked == []

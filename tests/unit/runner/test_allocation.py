"""What Slurm gave is understood, or refused in words; frameworks get ports of their own."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import LaunchError
from beowulf.runner import allocation
from beowulf.runner.allocation import (
    Allocation,
    endpoints_of,
    expand_counts,
    hosts_down,
    hosts_idle,
    hosts_of,
    is_free_here,
    parse_down,
    read_allocation,
)

GIVEN = {
    "SLURM_JOB_ID": "71",
    "SLURM_TASKS_PER_NODE": "2(x2),1",
    "SLURM_JOB_END_TIME": "1795493173",
}
HOSTS = ["head", "node1", "node2"]


@pytest.mark.parametrize(
    ("counts", "expanded"),
    [("1", (1,)), ("2(x3),1", (2, 2, 2, 1)), ("1,4", (1, 4)), ("1(x4)", (1, 1, 1, 1))],
)
def test_counts_in_short_form(counts: str, expanded: tuple[int, ...]) -> None:
    assert expand_counts(counts) == expanded


@pytest.mark.parametrize("counts", ["", "2,", "x", "-1", "1(x2", "1(2)", "1 2", "1(x2)1"])
def test_counts_in_another_form(counts: str) -> None:
    with pytest.raises(ValueError, match="SLURM_TASKS_PER_NODE"):
        expand_counts(counts)


def test_an_allocation_is_read() -> None:
    given = read_allocation(GIVEN, HOSTS)
    assert given == Allocation(71, ("head", "node1", "node2"), (2, 2, 1), 1795493173.0)
    assert given.ranks == 5


def test_slurm_need_not_say_when_the_job_must_end() -> None:
    environ = {key: value for key, value in GIVEN.items() if key != "SLURM_JOB_END_TIME"}
    assert read_allocation(environ, HOSTS).ends_at == float("inf")


@pytest.mark.parametrize(
    ("changed", "hosts", "problem"),
    [
        ({"SLURM_TASKS_PER_NODE": "many"}, HOSTS, "many"),
        ({"SLURM_JOB_ID": "seven"}, HOSTS, "seven"),
        ({}, HOSTS[:2], "2 hosts, but counts ranks on 3"),
        ({"SLURM_TASKS_PER_NODE": "1"}, [], "0 hosts"),
    ],
)
def test_what_cannot_be_understood_is_refused(
    changed: dict[str, str], hosts: list[str], problem: str
) -> None:
    with pytest.raises(LaunchError, match=problem):
        read_allocation(GIVEN | changed, hosts)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(LaunchError, match="SLURM_TASKS_PER_NODE"):
        read_allocation({"SLURM_JOB_ID": "71"}, HOSTS)


def test_each_rank_has_an_endpoint_on_its_own_host() -> None:
    endpoints = endpoints_of(Allocation(1, ("head", "node1"), (1, 2)), is_free=lambda _: True)
    assert endpoints == ("head:60016", "node1:60016", "node1:60017")


def test_a_port_that_is_taken_is_passed_over_where_the_ranks_meet() -> None:
    given = Allocation(1, ("head", "node1"), (2, 1))
    endpoints = endpoints_of(given, is_free=lambda port: port not in {60016, 60018})
    assert endpoints == ("head:60017", "head:60019", "node1:60016")


def test_a_host_without_free_ports_is_named() -> None:
    with pytest.raises(LaunchError, match="head has no 1 free ports"):
        endpoints_of(Allocation(1, ("head",), (1,)), is_free=lambda _: False)


@given(st.integers(1, 10**9), st.lists(st.integers(1, 64), min_size=1, max_size=5))
def test_endpoints_differ_and_lie_among_the_ports_that_are_open(
    slurm_job_id: int, counts: list[int]
) -> None:
    hosts = tuple(f"node{number}" for number in range(len(counts)))
    given = Allocation(slurm_job_id, hosts, tuple(counts))
    endpoints = endpoints_of(given, is_free=lambda _: True)
    assert len(set(endpoints)) == sum(counts)
    assert all(60_000 <= int(endpoint.partition(":")[2]) < 61_000 for endpoint in endpoints)


@given(st.integers(1, 10**9), st.integers(1, 61))
def test_jobs_that_come_soon_after_each_other_share_no_ports(first: int, later: int) -> None:
    ports = [
        {
            endpoint.partition(":")[2]
            for endpoint in endpoints_of(Allocation(number, ("n",), (16,)), is_free=lambda _: True)
        }
        for number in (first, first + later)
    ]
    assert not ports[0] & ports[1]


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("", 0)) as listening:
        port = listening.getsockname()[1]
        assert not is_free_here(port)
    assert is_free_here(port)


def test_nodes_that_slurm_has_given_up() -> None:
    answer = "head mixed\nnode1 down*\nnode2 idle\nnode3 down\nnode3 down\nodd\n\n"
    assert parse_down(answer) == ["node1", "node3"]


def test_nodes_that_slurm_could_give(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "head mixed\nnode1 idle*\nnode2 idle\nnode3 planned\nnode4 idle\nnode4 idle\n"
    monkeypatch.setattr(allocation, "_ask_slurm", lambda _words: answer)
    assert hosts_idle(["head", "node1", "node2", "node3", "node4"]) == ["node2", "node4"]


def test_slurm_expands_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(words: list[str]) -> str:
        asked.append(words)
        return "head\nnode1\n"

    monkeypatch.setattr(allocation, "_ask_slurm", answer)
    assert hosts_of("head,node1") == ["head", "node1"]
    assert asked == [["scontrol", "show", "hostnames", "head,node1"]]


def test_without_slurm_s_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LaunchError, match=r"cannot ask Slurm: .*scontrol"):
        hosts_of("head")
    assert hosts_down(["head"]) == []

"""Every problem is named at once, with its machine, before anything changes."""

from __future__ import annotations

from typing import Any

import pytest
from validation import cluster_problems, spoken

LIMITS = {"release": "13", "cpu_level": "x86-64-v2", "disk_free_mb": 500, "memory_mb": 400}


def machine(name: str, number: int, **changes: Any) -> dict[str, Any]:
    measured = {
        "distribution": "debian",
        "release": "13",
        "codename": "trixie",
        "architecture": "x86_64",
        "cpu_level": "x86-64-v3",
        "cpu_model": "Core i5",
        "memory_mb": 8000,
        "machine_id": f"id{number}",
        "address": f"10.0.0.{number}",
        "mac": f"mac{number}",
        "subnet": "10.0.0.0/24",
        "host_keys": {"ssh-ed25519": f"key{number}"},
        "accounts": {"admin": 1000},
    }
    now = {"clock_late_s": 0.3, "disk_free_mb": 9000}
    for field, value in changes.items():
        (now if field in now else measured)[field] = value
    return {
        "name": name,
        "call": f"10.0.0.{number}",
        "measured": measured,
        "now": now,
        "played": True,
    }


def problems(
    *machines: dict[str, Any], heads: list[str] | None = None, accounts: Any = ()
) -> list[str]:
    return cluster_problems(machines, ["head"] if heads is None else heads, accounts, LIMITS)


HEAD = machine("head", 1)


def test_a_sound_closet_has_no_problems() -> None:
    ada = {"name": "ada", "uid": 2001}
    assert problems(HEAD, machine("node1", 2), accounts=[ada]) == []


def test_a_machine_that_is_off_is_no_problem() -> None:
    assert problems(HEAD, machine("node1", 2) | {"now": {}}) == []
    assert problems(HEAD, machine("node1", 2) | {"now": {}, "measured": {}}) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"release": "12", "codename": "bookworm"}, ["install Debian 13", "different releases"]),
        ({"distribution": "ubuntu", "release": "24.04"}, ["runs ubuntu 24.04"]),
        ({"cpu_level": "x86-64-v1", "cpu_model": "Core 2"}, ["Core 2) is x86-64-v1"]),
        ({"architecture": "i686"}, ["a i686 machine"]),
        ({"memory_mb": 256}, ["256 MB of memory"]),
        ({"disk_free_mb": 20}, ["20 MB are free"]),
        ({"clock_late_s": 600.0}, ["its clock is 10 minutes slow", "date --set"]),
        ({"clock_late_s": -86400 * 4000}, ["4000 days fast"]),
        ({"machine_id": "id1"}, ["head, node1 have the same: the machine-id id1"]),
        ({"mac": "mac1"}, ["head, node1 have the same: the network card mac1"]),
        ({"address": "10.0.0.1"}, ["head, node1 have the same: the address 10.0.0.1"]),
        ({"host_keys": {"ssh-ed25519": "key1"}}, ["head, node1 have the same ssh host key"]),
        ({"subnet": "10.0.9.0/24"}, ["node1: is in the network 10.0.9.0/24"]),
    ],
)
def test_a_machine_that_does_not_fit_is_named(changes: dict[str, Any], words: list[str]) -> None:
    found = problems(HEAD, machine("node1", 2, **changes))
    assert len(found) == len(words) or "date --set" in words[-1]
    text = "\n".join(found)
    assert all(word in text for word in words)
    assert "node1" in text


def test_a_minute_is_forgiven() -> None:
    assert problems(machine("head", 1, clock_late_s=59.0)) == []
    assert len(problems(machine("head", 1, clock_late_s=61.0))) == 1


def test_all_problems_are_named_at_once() -> None:
    found = problems(
        machine("head", 1, clock_late_s=600.0),
        machine("Node_1", 2, memory_mb=100, disk_free_mb=0),
        machine("node2", 2, release="12"),
    )
    text = "\n".join(found)
    for words in ("head: its clock", "Node_1: not a host name", "100 MB of memory", "0 MB are free",
                  "Node_1, node2 have the same: the address 10.0.0.2 in the inventory",
                  "node2: runs debian 12"):  # fmt: skip
        assert words in text


def test_there_is_one_head_and_it_is_there() -> None:
    assert "no head" in problems(machine("node1", 2), heads=[])[0]
    assert "one head only" in problems(HEAD, machine("b", 2), heads=["head", "b"])[0]
    assert "can't be reached" in problems(HEAD | {"now": {}})[0]
    absent = HEAD | {"now": {}, "played": False}
    assert problems(absent) == []
    assert "without --limit first" in problems(absent | {"measured": {}})[0]


def test_people_clash_with_each_other_and_with_machines() -> None:
    node = machine("node1", 2, accounts={"admin": 1000, "ada": 1001, "carl": 2002})
    accounts = [
        {"name": "ada", "uid": 2001},
        {"name": "ben", "uid": 2002},
        {"name": "ben", "uid": 2002},
    ]
    text = "\n".join(problems(HEAD, node, accounts=accounts))
    assert "node1: has ada with uid 1001, not 2001" in text
    assert "node1: uid 2002 is carl's there" in text
    assert "the name ben" in text
    assert "the uid 2002" in text
    gone = [{"name": "ada", "uid": 2001, "state": "absent"}]
    assert problems(HEAD, node, accounts=gone) == []


def test_time_is_told_as_people_say_it() -> None:
    assert [spoken(s) for s in (61, 150, 7300, 200000)] == [
        "61 seconds", "2 minutes", "2 hours", "2 days",
    ]  # fmt: skip

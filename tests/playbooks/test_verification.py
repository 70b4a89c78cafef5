"""Each fault is named with its machine and with what to do, and hides no other machine."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_trial import parse_nodes
from verification import COLUMNS, verification

MEASURED = {"cpus": 2, "memory_mb": 2000}


def health(**faults: str) -> dict[str, Any]:
    names = ["mounts", "clock", "disk /", "disk /var", "memory", "munge", "slurm"]
    checks = {
        name: {"fault": faults.get(name.split("/")[0].strip()), "detail": ""} for name in names
    }
    return {
        "checks": checks,
        "faults": list(dict.fromkeys(faults.values())),
        "slurm_conf_sha256": "abc",
    }


def machine(name: str, **changes: Any) -> dict[str, Any]:
    seen = {"files": None, "munge": None, "health": health()}
    return {
        "name": name,
        "address": "10.0.0." + (name[4:] or "0"),
        "measured": MEASURED,
        "computes": True,
        "seen": seen,
        **changes,
    }


def node(**changes: Any) -> dict[str, Any]:
    return {"state": "idle", "cpus": 2, "memory_mb": 1900, "reason": "", **changes}


def cluster(**changes: Any) -> dict[str, Any]:
    names = ["head", "node1", "node2"]
    tried = {
        "fault": None,
        "nodes": {name: node() for name in names},
        "jobs": dict.fromkeys(names, "ok"),
        "mpi": "ok",
        "mpi_nodes": names,
    }
    opened = {
        "place": "/opt/beowulf/.verify-1",
        "token": "t",
        "credential": "c",
        "munge_fault": None,
        "slurm_conf_sha256": "abc",
    }
    opened.update(changes.pop("opened", {}))
    tried.update(changes.pop("tried", {}))
    return {
        "head": "head",
        "inventory": "inventory/closet",
        "known": names,
        "opened": opened,
        "tried": tried,
        **changes,
    }


def row(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(
        dict(zip(COLUMNS, cells, strict=True)) for cells in found["rows"] if cells[0] == name
    )


def test_a_cluster_that_works_has_no_remarks() -> None:
    found = verification([machine("head"), machine("node1"), machine("node2")], cluster())
    assert found["healthy"]
    assert found["remarks"] == found["faulty"] == []
    assert row(found, "node1") == {
        **dict.fromkeys(COLUMNS, True),
        "machine": "node1",
        "slurm": "idle",
    }


def test_a_machine_that_is_off_is_a_row_and_the_others_are_too() -> None:
    down = {"node1": node(state="down*", reason="Not responding"), "node2": node(), "head": node()}
    tried = {"nodes": down, "jobs": {"head": "ok", "node2": "ok"}, "mpi_nodes": ["head", "node2"]}
    found = verification(
        [machine("head"), machine("node1", seen={}), machine("node2")], cluster(tried=tried)
    )
    assert row(found, "node1")["ssh"] == "!unreachable"
    assert row(found, "node1")["slurm"] == "!down*"
    assert row(found, "node1")["munge"] is None
    assert row(found, "node2")["mpi"] is True
    assert found["faulty"] == ["node1"]
    assert found["remarks"] == [
        "node1: does not answer at 10.0.0.1; is it on? Try: ping 10.0.0.1",
    ]


@pytest.mark.parametrize(
    ("check", "column", "command"),
    [
        ("clock", "time", "chronyc makestep"),
        ("mounts", "files", "findmnt /opt/beowulf"),
        ("disk", "disk", "du -xh"),
        ("memory", "memory", "site.yml --limit node1"),
        ("munge", "munge", "site.yml --limit node1"),
    ],
)
def test_what_the_health_program_finds_is_in_its_column(
    check: str, column: str, command: str
) -> None:
    seen = {"files": None, "munge": None, "health": health(**{check: "it is broken"})}
    found = verification([machine("node1", seen=seen), machine("node2")], cluster())
    assert row(found, "node1")[column] is False
    assert row(found, "node2")[column] is True
    assert found["faulty"] == ["node1"]
    assert any(command in remark for remark in found["remarks"])


def test_another_munge_key_is_one_fault_not_two() -> None:
    seen = {
        "files": None,
        "munge": "Invalid credential",
        "health": health(slurm="the head does not believe this machine"),
    }
    found = verification([machine("node1", seen=seen)], cluster())
    assert row(found, "node1")["munge"] is False
    assert len(found["remarks"]) == 1
    assert "Invalid credential" in found["remarks"][0]


def test_another_slurm_conf_is_named() -> None:
    seen = {"files": None, "munge": None, "health": {**health(), "slurm_conf_sha256": "old"}}
    found = verification([machine("node1", seen=seen)], cluster())
    assert row(found, "node1")["slurm"] == "!other slurm.conf"


def test_a_machine_without_the_health_program_is_tried_by_the_rest() -> None:
    seen = {"files": "the head's file can't be read", "munge": None, "health": None}
    found = verification([machine("node1", seen=seen)], cluster())
    assert row(found, "node1")["files"] is False
    assert row(found, "node1")["munge"] is True
    assert row(found, "node1")["time"] is None


def test_a_busy_machine_is_no_fault() -> None:
    tried = {"jobs": {"node1": "busy", "head": "ok", "node2": "ok"}, "mpi_nodes": ["head", "node2"]}
    found = verification([machine("node1")], cluster(tried=tried))
    assert row(found, "node1")["job"] == "busy"
    assert found["healthy"]
    assert found["remarks"][0].startswith("busy:")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"cpus": 4}, "4 CPUs"), ({"memory_mb": 2001}, "2001 MB"), ({"memory_mb": 100}, "100 MB")],
)
def test_slurm_must_describe_a_machine_as_it_was_measured(
    wrong: dict[str, int], words: str
) -> None:
    nodes = {"head": node(), "node1": node(**wrong), "node2": node()}
    found = verification([machine("node1")], cluster(tried={"nodes": nodes}))
    assert words in found["remarks"][0]


def test_a_machine_that_slurm_does_not_know_is_named_and_one_too_many() -> None:
    nodes = {"head": node(), "node2": node(), "gone": node()}
    found = verification([machine("node1")], cluster(tried={"nodes": nodes, "mpi_nodes": []}))
    assert row(found, "node1")["slurm"] == "!unknown"
    assert found["faulty"] == ["node1"]
    assert found["general"] == ["head"]
    assert "gone" in found["remarks"][0]


def test_a_drained_machine_says_why() -> None:
    nodes = {"head": node(), "node1": node(state="drained", reason="new fan"), "node2": node()}
    tried = {"nodes": nodes, "jobs": {"head": "ok", "node2": "ok"}, "mpi_nodes": ["head", "node2"]}
    found = verification([machine("node1")], cluster(tried=tried))
    assert "drained: new fan" in found["remarks"][0]


def test_a_failed_job_and_a_wrong_sum_are_told_apart() -> None:
    tried = {
        "jobs": {"node1": "the job ended as FAILED: no", "node2": "ok"},
        "mpi_nodes": ["node2"],
    }
    found = verification(
        [machine("node1"), machine("node2")],
        cluster(tried={**tried, "mpi": "the sum is wrong on node2"}),
    )
    assert row(found, "node1")["job"] is False
    assert row(found, "node2")["mpi"] is False
    assert "MPI across node2: the sum is wrong on node2" in found["remarks"][0]
    assert not found["healthy"]


def test_without_the_head_the_machines_are_still_looked_at() -> None:
    found = verification(
        [machine("head", seen={}), machine("node1")],
        {**cluster(), "opened": {}, "tried": {}},
    )
    assert row(found, "node1")["disk"] is True
    assert row(found, "node1")["slurm"] is None
    assert "head: could not be asked" in found["remarks"][0]
    assert not found["healthy"]


def test_a_silent_queue_is_said_once() -> None:
    found = verification(
        [machine("head")],
        {**cluster(), "tried": {"fault": "Slurm's controller does not answer: x"}},
    )
    assert "systemctl status slurmctld" in found["remarks"][0]
    assert row(found, "head")["job"] is None


def test_states_are_read_without_their_marks_but_for_no_answer() -> None:
    said = "node1|idle~|2|1900|none\nnode2|down*|4|3900+|Not responding"
    assert parse_nodes(said) == {
        "node1": {"state": "idle", "cpus": 2, "memory_mb": 1900, "reason": ""},
        "node2": {"state": "down*", "cpus": 4, "memory_mb": 3900, "reason": "Not responding"},
    }

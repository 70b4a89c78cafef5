"""The program on the head that has Slurm start jobs again which lost their first node."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import requeue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUEUE = """\
1|RUNNING|node1|node[1-4]|beowulf:7:ab
2|RUNNING|node1|node[2-4]|beowulf:8:cd:2:4
3|RUNNING|node1|node[2-4]|somebody's own
4|PENDING|n/a||beowulf:9:ef
5_1|RUNNING|node1|node[2-4]|beowulf:9:ef
6|PENDING|n/a||(null)
odd
"""
# As Slurm 24.11.5 prints them.
NODES = """\
NodeName=node1 Arch=x86_64 CoresPerSocket=2  CPUAlloc=0 CPUEfctv=2 CPUTot=2 State=DOWN+NOT_RESPONDING ThreadsPerCore=1 Reason=Not responding [slurm@2026-11-26T00:09:37]
NodeName=node2 Arch=x86_64 CoresPerSocket=2  CPUAlloc=2 CPUEfctv=2 CPUTot=2 State=ALLOCATED ThreadsPerCore=1
NodeName=node3 Arch=x86_64 CoresPerSocket=4  CPUAlloc=0 CPUTot=4 State=IDLE ThreadsPerCore=1
NodeName=node4 Arch=x86_64 CoresPerSocket=2  CPUAlloc=2 CPUEfctv=2 CPUTot=2 State=IDLE+DRAIN ThreadsPerCore=1 Reason=State=IDLE [root@2026-11-26T00:09:37]
"""  # noqa: E501
PENDING = (
    "JobId={number} JobName=digits Comment=beowulf:9:ef JobState=PENDING Reason=BeginTime "
    "Requeue=1 Restarts={restarts} BatchFlag=1 ReqNodeList=(null) ExcNodeList={avoids} NodeList= "
    "NumNodes=4-4 NumCPUs={tasks} NumTasks={tasks} CPUs/Task={cpus} "
    "NtasksPerN:B:S:C={per_node}:0:*:* MinCPUsNode=1\n"
)


def pending(**given: Any) -> str:
    values = {"number": 4, "restarts": 1, "avoids": "(null)", "tasks": 4, "cpus": 1, "per_node": 1}
    return PENDING.format(**values | given)


def test_only_beowulf_s_own_jobs_are_looked_at() -> None:
    found = requeue.parsed_queue(QUEUE)
    assert [(job.number, job.state, job.name, job.fewest, job.most) for job in found] == [
        (1, "RUNNING", "beowulf:7:ab", 1, 0),
        (2, "RUNNING", "beowulf:8:cd", 2, 4),
        (4, "PENDING", "beowulf:9:ef", 1, 0),
    ]  # fmt: skip


def test_a_node_that_is_down_or_drained_is_no_place_for_a_job() -> None:
    assert requeue.parsed_nodes(NODES) == [requeue.Node("node2", 2), requeue.Node("node3", 4)]


def test_what_a_job_asks_for() -> None:
    assert requeue.parsed_job(pending(tasks=8, per_node=2, cpus=3, avoids="node1")) == (
        requeue.Wanted(8, 2, 3, 1, "node1")
    )


@pytest.mark.parametrize(
    ("tasks", "per_node", "cpus", "fewest", "expected"),
    [
        (4, 1, 1, 1, {"NumNodes": 2, "NumTasks": 2, "NumCPUs": 2}),
        (8, 2, 1, 1, {"NumNodes": 2, "NumTasks": 4, "NumCPUs": 4}),
        (8, 2, 2, 1, {"NumNodes": 1, "NumTasks": 2, "NumCPUs": 4}),  # one node has 4 cores
        (4, 1, 1, 3, {"NumNodes": 3, "NumTasks": 3, "NumCPUs": 3}),  # must be: then it waits
        (2, 1, 1, 1, {}),
        (8, 0, 1, 1, {"NumTasks": 6, "NumCPUs": 6}),
        (8, 0, 2, 1, {"NumTasks": 3, "NumCPUs": 6}),
        (6, 0, 1, 1, {}),
        (8, 0, 9, 1, {}),  # no node has so many cores: it waits for one that has
    ],
)
def test_a_job_asks_for_no_more_than_is_left(
    tasks: int, per_node: int, cpus: int, fewest: int, expected: dict[str, int]
) -> None:
    wanted = requeue.Wanted(tasks, per_node, cpus, restarts=1, avoids="")
    usable = [requeue.Node("node2", 2), requeue.Node("node3", 4)]
    changes = requeue.fitting(waiting(fewest=fewest), wanted, usable)
    comment = {"Comment": f"beowulf:9:ef:{fewest}:{tasks}"} if expected else {}
    assert changes == expected | comment


def waiting(fewest: int = 1, most: int = 0) -> Any:
    return requeue.Job(4, "PENDING", "n/a", "", "beowulf:9:ef", fewest, most)


@pytest.mark.parametrize(
    ("tasks", "per_node", "most", "expected"),
    [
        (1, 1, 2, {"NumNodes": 2, "NumTasks": 2, "NumCPUs": 2}),
        (1, 1, 4, {"NumNodes": 2, "NumTasks": 2, "NumCPUs": 2}),
        (2, 1, 4, {}),
        (3, 0, 8, {"NumTasks": 6, "NumCPUs": 6}),
        (3, 0, 4, {"NumTasks": 4, "NumCPUs": 4}),
        (4, 1, 4, {"NumNodes": 2, "NumTasks": 2, "NumCPUs": 2}),
    ],
)
def test_a_job_asks_for_as_much_as_it_had_once_that_is_there_again(
    tasks: int, per_node: int, most: int, expected: dict[str, int]
) -> None:
    wanted = requeue.Wanted(tasks, per_node, 1, restarts=2, avoids="")
    usable = [requeue.Node("node2", 2), requeue.Node("node3", 4)]
    assert requeue.fitting(waiting(most=most), wanted, usable) == expected


def test_a_node_is_avoided_for_a_while_and_never_the_last_one() -> None:
    avoided = requeue.Avoided()
    nodes = [requeue.Node("node1", 2), requeue.Node("node2", 2)]
    avoided.add(4, "node1", 100.0)

    def wants(
        avoids: list[str], number: int, there: list[Any], now: float, restarts: int = 1
    ) -> list[str]:
        return list(avoided.instead_of(avoids, number, restarts, there, now))

    assert wants([], 4, nodes, 101.0) == ["node1"]
    assert wants(["node1"], 4, nodes, 102.0) == ["node1"]
    assert wants([], 4, nodes[:1], 101.0) == []
    assert wants(["node1"], 4, nodes[:1], 101.0) == []
    assert wants([], 5, nodes, 101.0) == []
    # Whom its owner keeps it off, stays.
    assert wants(["node3"], 4, nodes, 101.0) == ["node3", "node1"]
    assert wants(["node2"], 4, nodes, 101.0) == ["node2"]
    # Started again once more, to have that node back.
    assert wants(["node3", "node1"], 4, nodes, 101.0, restarts=2) == ["node3"]
    avoided.add(4, "node1", 100.0)
    assert wants([], 4, nodes, 101.0, restarts=3) == ["node1"]
    after = 101.0 + requeue.AVOIDED_S
    assert wants(["node3", "node1"], 4, nodes, after) == ["node3"]
    avoided.forget_all_but([5])
    assert wants(["node1"], 4, nodes, after) == ["node1"]


# --- A look at the queue ----------------------------------------------------------------------


class Slurm:
    """Slurm's commands: what they answer, by their first words, and which of them changed what."""

    def __init__(self) -> None:
        self.told = {
            "squeue": QUEUE,
            "scontrol show nodes": NODES,
            "scontrol show hostnames node[1-4]": "node1\nnode2\nnode3\nnode4\n",
            "scontrol show hostnames node[2-4]": "node2\nnode3\nnode4\n",
            "scontrol show hostnames node3": "node3\n",
            "scontrol show hostnames node[1,3]": "node1\nnode3\n",
            "scontrol show job": pending(),
        }
        self.changes: list[str] = []

    def __call__(self, *words: str) -> str:
        asked = " ".join(words)
        if asked.startswith(("scontrol requeue", "scontrol update")):
            self.changes.append(asked.removeprefix("scontrol "))
            return ""
        return next(told for start, told in self.told.items() if asked.startswith(start))


def look(avoided: Any, now: float) -> None:
    requeue.look(avoided, requeue.Vanished("elsewhere"), now)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    fake = Slurm()
    monkeypatch.setattr(requeue, "slurm", fake)
    return fake


def test_a_job_without_its_first_node_goes_back_to_the_queue(slurm: Slurm) -> None:
    slurm.told["scontrol show job"] = pending(restarts=0)
    look(requeue.Avoided(), 100.0)
    assert slurm.changes == ["requeue 2"]


def test_one_that_waits_again_asks_for_what_is_left_and_not_for_the_node_it_lost(
    slurm: Slurm,
) -> None:
    avoided = requeue.Avoided()
    avoided.add(4, "node3", 90.0)
    slurm.told["squeue"] = "4|PENDING|n/a||beowulf:9:ef\n"
    look(avoided, 100.0)
    assert slurm.changes == [
        "update JobId=4 ExcNodeList=node3 NumNodes=1 NumTasks=1 NumCPUs=1 Comment=beowulf:9:ef:1:4"
    ]
    slurm.told["squeue"] = "4|PENDING|n/a||beowulf:9:ef:1:4\n"
    slurm.told["scontrol show job"] = pending(tasks=1, avoids="node3")
    look(avoided, 105.0)
    assert len(slurm.changes) == 1
    look(avoided, 105.0 + requeue.AVOIDED_S)
    assert slurm.changes[1:] == [
        "update JobId=4 ExcNodeList= NumNodes=2 NumTasks=2 NumCPUs=2"  # node1 is down still
    ]


def test_what_was_never_started_waits_for_all_that_it_wants(slurm: Slurm) -> None:
    slurm.told["squeue"] = "4|PENDING|n/a||beowulf:9:ef\n"
    slurm.told["scontrol show job"] = pending(restarts=0)
    look(requeue.Avoided(), 100.0)
    assert slurm.changes == []


def test_nodes_that_its_owner_keeps_it_off_stay_so(slurm: Slurm) -> None:
    slurm.told["squeue"] = "4|PENDING|n/a||beowulf:9:ef\n"
    slurm.told["scontrol show job"] = pending(tasks=1, avoids="node[1,3]")
    look(requeue.Avoided(), 100.0)
    assert slurm.changes == []


def test_the_head_alone_or_a_job_that_begins_has_lost_nothing(slurm: Slurm) -> None:
    slurm.told["squeue"] = "1|RUNNING|node1|node1|beowulf:7:ab\n2|RUNNING|n/a||beowulf:7:ab\n"
    look(requeue.Avoided(), 100.0)
    assert slurm.changes == []


def test_a_job_that_should_run_on_the_head_and_does_not_goes_back_to_the_queue(
    slurm: Slurm, tmp_path: Path
) -> None:
    """As after the head was off: nothing there knows of the job any more."""
    slurm.told["squeue"] = "7|RUNNING|head|head,node2|beowulf:7:ab\n8|RUNNING|head|head|other\n"
    slurm.told["scontrol show hostnames"] = "head\nnode2\n"
    vanished = requeue.Vanished("head", tmp_path)

    def changes(now: float) -> list[str]:
        requeue.look(requeue.Avoided(), vanished, now)
        return slurm.changes

    assert changes(0.0) == changes(100.0) == []  # slurmd has not begun yet
    job = tmp_path / "system.slice" / "head_slurmstepd.scope" / "job_7"
    job.mkdir(parents=True)
    assert changes(200.0) == []
    job.rmdir()
    assert changes(300.0) == []
    job.mkdir()
    assert changes(305.0) == []
    job.rmdir()
    assert changes(310.0) == changes(310.0 + requeue.BEGINS_S - 1) == []
    assert changes(310.0 + requeue.BEGINS_S) == ["requeue 7"]


def test_what_does_not_work_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter(range(3))

    def fail(*_: object) -> None:
        raise subprocess.CalledProcessError(1, ["squeue", "-h"], stderr="error: \n no answer\n")

    def sleep(_: float) -> None:
        if next(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(requeue, "look", fail)
    monkeypatch.setattr(time, "sleep", sleep)
    run: Callable[[str], None] = requeue.main
    with pytest.raises(KeyboardInterrupt):
        run("head")
    assert capsys.readouterr().err == ("cannot look after the queue: squeue -h: error: no answer\n")

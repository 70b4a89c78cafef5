"""What the head knows of its nodes, from this user's jobs and Slurm's accounts, and forgets."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.errors import InvalidInput
from beowulf.head.records import Slurm, job_root
from beowulf.head.trusting import advice, forgive, trust, trusts
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.losses import QUESTION
from tests.unit.head.conftest import Client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.head.conftest import FakeSlurm

HOUR_S = 3600
NODES = "".join(f"NodeName=node{n} CPUTot=4 RealMemory=1 State=IDLE\n" for n in (1, 2, 3))


def make_job(number: int, *events: tuple[str, float, dict[str, Any]]) -> JobDirectory:
    """Make a job of which this happened, so many hours ago."""
    directory = JobDirectory(job_root().path / str(number))
    directory.path.mkdir(parents=True)
    for name, hours_ago, details in events:
        moment = datetime.fromtimestamp(time.time() - hours_ago * HOUR_S, UTC).isoformat()
        record_event(directory, name, time=moment, **details)  # type: ignore[arg-type]
    return directory


def lose(number: int, node: str, *hours_ago: float) -> JobDirectory:
    lost = [("lost", hours, {"ranks": [1], "hosts": [node]}) for hours in hours_ago]
    started = ("started", max(hours_ago) + 1, {"ranks": 2, "hosts": ["node1", node]})
    return make_job(number, started, *lost)


def per_cent(node: str) -> int:
    return {one.node: one.per_cent for one in trusts(job_root(), time.time())}[node]


def test_where_nothing_happened_nothing_is_known(home: Path, slurm: FakeSlurm) -> None:
    assert trusts(job_root(), time.time()) == []
    assert advice(job_root(), Slurm()) == {}
    assert not (home / "beowulf").exists()


def test_losses_of_all_jobs_are_added_up(home: Path, slurm: FakeSlurm) -> None:
    lose(1, "node3", 5)
    lose(2, "node3", 3, 2)
    assert per_cent("node1") == 100
    assert per_cent("node3") < 70


def test_slurm_s_accounts_count_for_everybody(home: Path, slurm: FakeSlurm) -> None:
    begin, end = (datetime.now().astimezone().replace(microsecond=0, tzinfo=None),) * 2
    slurm.answer("sacctmgr", output=f"node2|{begin.isoformat()}|{end}|DOWN*|Not responding\n")
    assert per_cent("node2") == 87
    assert slurm.calls("sacctmgr") == [list(QUESTION[1:])]


@pytest.mark.parametrize("told", [{"status": 1, "errors": "Access/permission denied"}, {}])
def test_without_accounts_the_jobs_stories_do(
    home: Path, slurm: FakeSlurm, told: dict[str, Any]
) -> None:
    slurm.answer("sacctmgr", **told)
    lose(1, "node3", 5)
    assert per_cent("node3") == 87


def test_what_is_long_ago_is_not_read(home: Path, slurm: FakeSlurm) -> None:
    job = lose(1, "node3", 5)
    month_ago = time.time() - 29 * 24 * HOUR_S
    os.utime(job.events, (month_ago, month_ago))
    assert trusts(job_root(), time.time()) == []


def test_a_node_that_lost_three_jobs_is_to_be_left_out(home: Path, slurm: FakeSlurm) -> None:
    lose(1, "node3", 2, 1, 0.5)
    slurm.answer("scontrol", output=NODES)
    told = advice(job_root(), Slurm())
    assert [(one["node"], one["why"]) for one in told["left_out"]] == [
        ("node3", "lost 3 times in 24 hours")
    ]
    assert told["nodes"] == [["node1", 4, True], ["node2", 4, True], ["node3", 4, True]]
    json.dumps(told)


def test_a_client_asks_and_forgives(home: Path, slurm: FakeSlurm) -> None:
    client = Client()
    lose(1, "node3", 2, 1, 0.5)
    trust(client.peer(), {})
    trust(client.peer(), {"node": "node3"})
    before, after = ({one["node"]: one for one in frame.document["trust"]} for frame in client.told)
    assert before["node3"]["left_out_until"]
    assert after["node3"]["left_out_until"] is None
    assert after["node3"]["per_cent"] == 100


def test_what_was_forgiven_of_one_node_stays_so_when_another_is(
    home: Path, slurm: FakeSlurm
) -> None:
    lose(1, "node3", 2)
    lose(2, "node2", 2)
    forgive(job_root(), "node3", time.time())
    forgive(job_root(), "node2", time.time())
    assert (per_cent("node2"), per_cent("node3")) == (100, 100)


def test_only_what_can_be_a_node_is_forgiven(home: Path, slurm: FakeSlurm) -> None:
    with pytest.raises(InvalidInput, match="no node"):
        forgive(job_root(), "../x", time.time())
    assert not (home / "beowulf").exists()


@pytest.mark.parametrize("damaged", ["[]", "{", '{"node3": "x", "../y": 1, "node2": null}'])
def test_a_damaged_file_forgives_nobody(home: Path, slurm: FakeSlurm, damaged: str) -> None:
    lose(1, "node3", 2)
    (home / "beowulf" / "trusted.json").write_text(damaged)
    assert per_cent("node3") == 87

"""Plugs of jobs that train on the cluster are pulled, and machines that went away are known."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.room import wait_for
from tests.lab.test_submit import Laptop, laptop_of, script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.cluster import Cluster

MINUTE_S = 60
TRAIN = """
import time
import numpy as np
from beowulf import train

with train.Run(global_batch=64, averaging="dense", checkpoint_every_steps=50) as run:
    weights = np.zeros(1000)
    run.track(weights=weights)
    for batch in run.batches(6400, steps=3000):
        gradient = np.zeros(1000)
        for part in batch:
            gradient += part.sum()
        time.sleep(0.2)
        run.average(gradient, gradient[0])
        weights -= 1e-6 * gradient
"""


@pytest.fixture
def ada(cluster: Cluster, tmp_path: Path) -> Iterator[Laptop]:
    laptop = laptop_of("ada", cluster, tmp_path)
    yield laptop
    alive = [job["id"] for job in json.loads(laptop("jobs", "--json"))["jobs"]
             if job["exit_code"] is None]  # fmt: skip
    if alive:
        laptop("cancel", *alive)


@pytest.fixture
def training(ada: Laptop, tmp_path: Path) -> str:
    """The ID of a job that trains on all four nodes."""
    job_id = ada.submit(script(tmp_path / "work", TRAIN), "--nodes", "4")
    wait_for(
        lambda: (ada.record(job_id)["progress"] or {"step": 0})["step"] >= 20,
        "20 steps are done",
        5 * MINUTE_S,
    )
    return job_id


def drill(ada: Laptop, job_id: str, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ada("drill", job_id, "--yes", "--json", *words))["drill"]
    return found


def trusts(laptop: Laptop) -> dict[str, dict[str, Any]]:
    nodes = json.loads(laptop("nodes", "--json"))["nodes"]
    return {node["name"]: node["trust"] for node in nodes}


def story(ada: Laptop, job_id: str) -> list[str]:
    return [told["said"] for told in ada.record(job_id)["story"]]


@pytest.mark.skipif(not os.environ.get("BEOWULF_LONG"), reason="takes some minutes: BEOWULF_LONG=1")
def test_a_rank_is_killed_then_one_frozen_and_the_job_carries_on(
    ada: Laptop, training: str
) -> None:
    killed = drill(ada, training)
    assert (killed["ranks"], killed["recovery"]["ranks"]) == ([3], 3)
    assert killed["recovery"]["carried_on_s"] < 5
    frozen = drill(ada, training, "--freeze", "--rank", "2")
    assert (frozen["ranks"], frozen["recovery"]["ranks"]) == ([2], 2)
    assert frozen["recovery"]["carried_on_s"] < 20
    assert ada.record(training)["state"] == "RUNNING"
    told = story(ada, training)
    assert [said for said in told if said.startswith("drill: ")] == [
        f"drill: killed rank 3 on {killed['host']}, at step {killed['step']}",
        f"drill: froze rank 2 on {frozen['host']}, at step {frozen['step']}",
    ]
    assert len([said for said in told if said.startswith("carried on with ")]) == 2


def test_a_node_is_cut_off_and_the_job_carries_on(ada: Laptop, training: str) -> None:
    first = ada.try_to("drill", training, "--yes", "--cut", "--rank", "0")
    assert first.returncode == 2
    assert b"first node" in first.stderr
    cut = drill(ada, training, "--cut")
    assert cut["recovery"]["ranks"] == 3
    assert cut["recovery"]["carried_on_s"] < 20
    assert ada.record(training)["state"] == "RUNNING"
    assert trusts(ada)[cut["host"]]["losses"] == 0  # it was a drill


def test_a_machine_that_went_away_is_trusted_less_by_everybody(
    ada: Laptop, cluster: Cluster, tmp_path: Path
) -> None:
    room = cluster.room
    room("power", "node3", "off")
    wait_for(
        lambda: cluster.node_states()["node3"].startswith("down"), "node3 is down", 5 * MINUTE_S
    )
    room("up", "node3")
    wait_for(lambda: cluster.node_states()["node3"] == "idle", "node3 is back", 5 * MINUTE_S)
    for user in ("ada", "ben"):
        laptop = laptop_of(user, cluster, tmp_path / user)
        trust = trusts(laptop)
        assert trust["node3"]["per_cent"] < 100
        assert trust["node3"]["why"] == "lost once in 24 hours"
        assert trust["node1"]["per_cent"] == 100
    assert "node3 is trusted again" in ada.try_to("nodes", "--trust", "node3").stderr.decode()

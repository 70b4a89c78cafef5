"""One job on machines of unequal speed: shares follow, and the losses are those of equal shares."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.test_submit import TOLERANCE, Laptop, laptop_of, losses, script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.cluster import Cluster

SLOW = "node2"
QUOTA = "20%"
STEPS = 45
# Each sample takes some milliseconds of computing; the weights are few.
TRAIN = f"""
import sys
import numpy as np
from beowulf import train

GRID = np.linspace(0.1, 3.0, 60_000)

def features(x):
    waves = np.sin(GRID * x)
    for _ in range(4):
        waves = np.sin(waves * 3 + x)
    return waves.reshape(20, -1).mean(axis=1)

xs = np.linspace(-2, 2, 1000)
shares = sys.argv[1] if sys.argv[1:] else None
with train.Run(global_batch=40, shares=shares, averaging="dense") as run:
    weights = np.zeros(20)
    run.track(weights=weights)
    for batch in run.batches(len(xs), steps={STEPS}):
        gradient, loss = np.zeros(20), 0.0
        for part in batch:
            for x in xs[part]:
                seen = features(x)
                error = seen @ weights - np.cos(x)
                gradient += 2 * error * seen
                loss += error**2
        run.average(gradient, loss)
        weights -= 0.2 * gradient
"""


@pytest.fixture
def ada(untouched_cluster: Cluster, tmp_path: Path) -> Laptop:
    return laptop_of("ada", untouched_cluster, tmp_path)


@pytest.fixture
def slow_node(untouched_cluster: Cluster) -> Iterator[str]:
    """A node whose jobs may use a fifth of its processor. All that Slurm starts is in one scope.

    Debian's Slurm, made for several daemons per machine, puts the node's name before its own.
    """
    scope = f"{SLOW}_slurmstepd.scope"
    set_quota = f"systemctl set-property --runtime {scope} CPUQuota="
    host = untouched_cluster.host(SLOW)
    try:
        limited = host.run(set_quota + QUOTA)
        assert limited.rc == 0, limited.stderr + host.run("systemctl list-units '*.scope'").stdout
        quota_us, period_us = host.file(
            f"/sys/fs/cgroup/system.slice/{scope}/cpu.max"
        ).content_string.split()
        assert int(quota_us) * 5 == int(period_us)
        yield SLOW
    finally:
        host.run(set_quota)


def train(ada: Laptop, path: Path, there: Path, *words: str) -> dict[str, Any]:
    """Run a job to its end and fetch its files. Returns its record."""
    job_id = ada.submit(path, "--ranks", "4", "--", *words)
    record = ada.wait_until(job_id, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
    assert record["state"] == "COMPLETED", f"{record} {ada('logs', job_id)}"
    ada("fetch", job_id, "--to", there)
    return record


def test_shares_follow_the_speeds_of_the_nodes(ada: Laptop, slow_node: str, tmp_path: Path) -> None:
    path = script(tmp_path / "job", TRAIN)
    equal = train(ada, path, tmp_path / "equal", "equal")
    balanced = train(ada, path, tmp_path / "balanced")
    assert {rank["share"] for rank in equal["paces"]["ranks"]} == {10}

    ranks = {rank["host"]: rank for rank in balanced["paces"]["ranks"]}
    assert set(ranks) == {"head", "node1", "node2", "node3"}
    slow = ranks.pop(slow_node)
    assert slow["samples_per_s"] < 0.6 * median(rank["samples_per_s"] for rank in ranks.values())
    assert slow["share"] < 0.6 * median(rank["share"] for rank in ranks.values())
    shown = ada("status", balanced["id"])
    assert f"{slow_node}  " in shown
    assert f"{slow['share']} of 40 samples" in shown

    expected = losses(tmp_path / "equal")
    assert len(expected) == STEPS
    assert losses(tmp_path / "balanced") == pytest.approx(expected, rel=TOLERANCE)
    seconds = {name: median(step_times(tmp_path / name)) for name in ("equal", "balanced")}
    assert seconds["balanced"] < seconds["equal"]


def step_times(directory: Path) -> list[float]:
    """Return how long the later steps took, once shares had followed."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step_s"] for line in lines[STEPS // 3 :]]

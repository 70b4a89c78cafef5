"""Shares follow the ranks' speeds while a run goes on, and the losses don't notice."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np

from beowulf.train import Run
from beowulf.train.batches import Schedule
from beowulf.train.options import DiLoCo
from tests.mpi.launch import on_ranks

SLOWNESS = (1, 2, 8)  # a rank's time per sample
STEPS = 500  # with which a busy machine has time enough to notice; mostly a few are
X = np.linspace(-1, 1, 175)
Y = 3 * X + 1


def sums(weights: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the sums over some points of a line's gradient and loss."""
    error = weights[0] * X[part] + weights[1] - Y[part]
    return np.array([2 * (error * X[part]).sum(), 2 * error.sum()]), float((error**2).sum())


def train(run: Run, least: int = 0) -> list[float]:
    """Fit a line, taking a while for each sample, until the fastest rank has most to do."""
    weights = np.zeros(2)
    losses: list[float] = []
    run.track(weights=weights)
    for batch in run.batches(len(X), steps=STEPS):
        if len(losses) >= least and 2 * run.weights[-1] < run.weights[0]:
            break
        gradient, loss = np.zeros(2), 0.0
        for part in batch:
            time.sleep(0.0005 * SLOWNESS[-run.world_size :][run.rank] * len(part))
            gradient, loss = sums(weights, part)
        losses.append(run.average(gradient, loss))
        weights -= 0.1 * gradient
    assert len(set(run.comm.allgather(run.weights))) == 1
    assert 2 * run.weights[-1] < run.weights[0]
    return losses


def by_one_process() -> list[float]:
    weights = np.zeros(2)
    losses: list[float] = []
    for _, _, batch in Schedule(len(X), 70, 0).global_batches(0, STEPS):
        gradient, loss = sums(weights, batch)
        losses.append(loss / len(batch))
        weights -= 0.1 * gradient / len(batch)
    return losses


def check_that_shares_follow() -> None:
    with Run(global_batch=70, checkpoint_every_steps=2) as run:
        losses = train(run, least=6)
    np.testing.assert_allclose(losses, by_one_process()[: len(losses)], rtol=1e-9)


def check_going_on() -> None:
    """Two ranks go on, the slow ones; then those meet in every second step alone."""
    with Run(global_batch=70) as run:
        losses = train(run)
        start = int(run.directory.joinpath("start").read_text())
    np.testing.assert_allclose(losses, by_one_process()[start : start + len(losses)], rtol=1e-9)
    del os.environ["BEOWULF_JOB_DIR"]
    with Run(global_batch=70, averaging=DiLoCo(inner_steps=2)) as run:
        train(run)


def test_shares_follow_and_another_number_of_ranks_goes_on(tmp_path: Path) -> None:
    env = {"BEOWULF_JOB_DIR": str(tmp_path)}
    on_ranks(3, check_that_shares_follow, env=env)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["shares"] == [24, 23, 23]
    assert {len(line["compute_s"]) for line in lines} == {3}
    assert lines[0]["wire_s"] is None
    assert all(line["wire_s"] >= 0 for line in lines[1:])
    start = max((tmp_path / "checkpoints").iterdir()).name.removeprefix("step-")
    (tmp_path / "start").write_text(start)
    on_ranks(2, check_going_on, env=env)

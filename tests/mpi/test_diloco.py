"""DiLoCo trains apart and averages by samples; what it computes is what the paper says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from beowulf.errors import TrainingError
from beowulf.train import DiLoCo, Run
from beowulf.train.batches import Schedule
from beowulf.train.shares import parse_shares, split
from tests.mpi.launch import on_ranks

COMM = MPI.COMM_WORLD
SHARES = {1: "1", 2: "3:1", 3: "5:2:0", 4: "5:2:0:1"}
X = np.linspace(-1, 1, 50)
Y = 3 * X + 1 + np.random.default_rng(0).normal(0, 0.1, len(X))
STEPS, EVERY = (
    14,
    4,
)  # an epoch is 4 steps, the last of 2 samples; and the run's last outer one is short
RATE, MOMENTUM, INNER = 0.8, 0.5, 0.1


def gradient_at(weights: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, float]:
    error = weights[0] * X[part] + weights[1] - Y[part]
    return np.array([(error * X[part]).sum(), error.sum()]), float((error**2).sum())


def reference() -> tuple[np.ndarray, list[float]]:
    """Return weights and losses as all ranks together come to them, computed on one."""
    common, velocity = np.zeros(2), np.zeros(2)
    apart = [np.zeros(2) for _ in range(COMM.size)]
    seen, losses, own = np.zeros(COMM.size), np.zeros(COMM.size), []
    for step, _, indices in Schedule(len(X), 16, 0).global_batches(0, STEPS):
        shares = split(len(indices), parse_shares(SHARES[COMM.size]))
        parts = np.split(indices, np.cumsum(shares)[:-1])
        for rank, part in enumerate(parts):
            gradient, loss = gradient_at(apart[rank], part)
            apart[rank] = apart[rank] - INNER * gradient / max(len(part), 1)
            seen[rank] += len(part)
            losses[rank] += loss
            if rank == 0:
                own.append(loss / len(part))
        if (step + 1) % EVERY == 0 or step + 1 == STEPS:
            weighted = zip(seen, apart, strict=True)
            move = sum(count * (common - weights) for count, weights in weighted) / seen.sum()
            velocity = MOMENTUM * velocity + move
            common = common - RATE * (move + MOMENTUM * velocity)
            own[-1] = losses.sum() / seen.sum()
            apart = [common] * COMM.size
            seen, losses = np.zeros(COMM.size), np.zeros(COMM.size)
    return common, own


def train_line(directory: str, *, stop_after: int | None = None) -> tuple[np.ndarray, list[float]]:
    averaging = DiLoCo(inner_steps=EVERY, rate=RATE, momentum=MOMENTUM, parameters=["line"])
    with Run(
        global_batch=16,
        shares=SHARES[COMM.size],
        averaging=averaging,
        checkpoint_every_steps=3,
        checkpoint_every_s=None,
    ) as run:
        line, counter = np.zeros(2), {"steps": 0}
        run.track(line=line, counter=counter)
        for batch in run.batches(len(X), steps=STEPS):
            is_equal = len(set(COMM.allgather(line.tobytes()))) == 1
            assert is_equal == (batch.step % EVERY == 1 or COMM.size == 1)
            gradient, loss = np.zeros(2), 0.0
            for part in batch:
                gradient, loss = gradient_at(line, part)
            run.average(gradient, loss)
            line -= INNER * gradient
            counter["steps"] += 1
            if batch.step == stop_after:
                raise KeyboardInterrupt
        assert len(set(COMM.allgather(line.tobytes()))) == 1
    COMM.Barrier()
    metrics = (Path(directory) / "metrics.jsonl").read_text().splitlines()
    return line, [json.loads(one)["loss"] for one in metrics]


def forget(directory: str) -> None:
    COMM.Barrier()
    if COMM.rank == 0:
        for path in (Path(directory) / "checkpoints").iterdir():
            path.rename(Path(directory) / f"forgotten-{path.name}")
        (Path(directory) / "metrics.jsonl").unlink()
    COMM.Barrier()


def check_everything(directory: str) -> None:
    expected, losses = reference()
    found, told = train_line(directory)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(told, losses, rtol=1e-12)
    names = sorted(path.name for path in (Path(directory) / "checkpoints").iterdir())
    assert names == ["step-00000012", "step-00000014"]  # outer steps; 3, 6 and 9 had to wait
    forget(directory)
    with pytest.raises(KeyboardInterrupt):
        train_line(directory, stop_after=11)
    COMM.Barrier()
    again, told_again = train_line(directory)
    assert again.tobytes() == found.tobytes()
    assert told_again == told
    check_shares_may_follow_speeds()
    check_refusals()


def check_shares_may_follow_speeds() -> None:
    """Between outer steps nobody knows how fast the others are, which must do no harm."""
    known = []
    os.environ["BEOWULF_JOB_DIR"] += "/balanced"  # a job of its own
    Path(os.environ["BEOWULF_JOB_DIR"]).mkdir(exist_ok=True)
    with Run(global_batch=16, averaging=DiLoCo(inner_steps=3), checkpoint_every_s=None) as run:
        line = np.zeros(2)
        run.track(line=line)
        for batch in run.batches(len(X), steps=31):
            known.append(len(run.compute_s))
            gradient = np.zeros(2)
            for part in batch:
                gradient, _ = gradient_at(line, part)
            run.average(gradient)
            line -= INNER * gradient
        assert len(run.compute_s) == COMM.size  # since the last step was an outer one
    assert set(known) == {0}
    assert COMM.bcast(line.tobytes()) == line.tobytes()


def check_refusals() -> None:
    run = Run(global_batch=4, averaging="diloco")
    with pytest.raises(TrainingError, match="name them"):
        run.track(a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(TrainingError, match="track them before batches"):
        next(Run(global_batch=4, averaging="diloco").batches(10, steps=1))
    with pytest.raises(TrainingError, match="no floating-point parameters"):
        Run(global_batch=4, averaging="diloco").track(weights=np.zeros(1, np.int64))


def check_modules() -> None:
    import torch

    torch.manual_seed(COMM.rank)  # rank 0's counts
    model = torch.nn.Sequential(
        torch.nn.Linear(1, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    x = torch.linspace(-1, 1, 64)[:, None]
    losses = []
    with Run(global_batch=32, shares=SHARES[COMM.size], averaging=DiLoCo(inner_steps=5)) as run:
        run.track(model=model, optimizer=optimizer)
        for batch in run.batches(64, steps=100):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for part in batch:
                loss = ((model(x[part]) - 3 * x[part]) ** 2).sum()
                loss.backward()
            losses.append(run.average(model, loss))
            optimizer.step()
    tensors = [t for t in model.state_dict().values() if t.is_floating_point()]
    state = [tensor.cpu().numpy().tobytes() for tensor in tensors]
    assert len(state) == 8
    assert COMM.bcast(state) == state
    if COMM.rank == 0:
        assert losses[-1] < losses[0] / 4, losses


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_outer_steps_are_those_of_the_paper_weighted_by_samples(ranks: int, tmp_path: Path) -> None:
    env = {"BEOWULF_JOB_DIR": str(tmp_path)}
    on_ranks(ranks, check_everything, str(tmp_path), env=env)


@pytest.mark.torch
def test_modules_and_their_statistics_are_averaged() -> None:
    pytest.importorskip("torch", reason="PyTorch, the optional extra, is not installed")
    on_ranks(3, check_modules)

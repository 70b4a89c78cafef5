"""A run's promises, checked inside the ranks: equal start, equal steps, what is written."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beowulf.errors import CheckpointError, TrainingError, WorldSizeError
from beowulf.job.figures import parse_figures
from beowulf.train import Run
from tests.mpi.launch import on_ranks

RANKS = [1, 2, 3, 4]


def check_everybody_starts_from_rank_0() -> None:
    with Run(global_batch=4) as run:
        weights: dict[str, Any] = {
            "a": np.full(3, float(run.rank)),
            "b": [np.full((2, 2), run.rank + 1.0)],
        }
        counter = {"seen": run.rank + 5}
        generator = np.random.default_rng(run.rank)
        run.track(weights=weights, counter=counter, generator=generator)
        assert weights["a"].tolist() == [0.0, 0.0, 0.0]
        assert weights["b"][0].tolist() == [[1.0, 1.0], [1.0, 1.0]]
        assert counter == {"seen": 5}
        assert generator.random() == np.random.default_rng(0).random()


def train_line(
    run: Run, steps: int, *, stop_after: int | None = None
) -> tuple[np.ndarray, list[float]]:
    """Fit a line to points with plain gradient descent; the answer is known."""
    x = np.linspace(-1, 1, 50)
    y = 3 * x + 1
    weights = np.zeros(2)
    losses = []
    run.track(weights=weights)
    for batch in run.batches(len(x), steps=steps):
        gradient, loss = np.zeros(2), 0.0
        for part in batch:
            error = weights[0] * x[part] + weights[1] - y[part]
            gradient += [2 * (error * x[part]).sum(), 2 * error.sum()]
            loss += (error**2).sum()
        losses.append(run.average(gradient, loss))
        weights -= 0.1 * gradient
        if batch.step == stop_after:
            raise KeyboardInterrupt
    return weights, losses


def check_training(shares: str | None, micro_batch: int | None, directory: str) -> None:
    with Run(global_batch=16, seed=3, shares=shares, micro_batch=micro_batch) as run:
        weights, losses = train_line(run, steps=300)
        np.testing.assert_allclose(weights, [3.0, 1.0], atol=1e-3)
        everybody = run.comm.allgather(weights.tobytes())
        assert len(set(everybody)) == 1
        run.report(slope=weights[0], note="done")
    if run.rank == 0:
        (Path(directory) / f"losses-{run.world_size}").write_text(json.dumps(losses))


def check_files(directory: str) -> None:
    with Run(global_batch=16) as run:
        _, losses = train_line(run, steps=7)
        run.report(answer=np.float32(42.0))
    run.comm.Barrier()
    path = Path(directory)
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert [line["epoch"] for line in lines] == [1, 1, 1, 1, 2, 2, 2]
    assert [line["samples"] for line in lines] == [16, 16, 16, 2, 16, 16, 16]
    assert [line["loss"] for line in lines] == losses
    for line in lines:
        assert line["world_size"] == run.world_size == len(line["shares"])
        assert sum(line["shares"]) == line["samples"]
        assert line["total_steps"] == 7
        assert line["step_s"] > 0
    result = json.loads((path / "result.json").read_text())
    assert result["final_loss"] == losses[-1]
    assert result["steps"] == 7
    assert result["answer"] == 42.0
    assert result["samples_per_s"] > 0
    figures = parse_figures(result)
    assert figures is not None
    assert (figures.global_batch, len(figures.ranks)) == (16, run.world_size)
    assert figures.gradient_bytes == 16  # two numbers of 8 bytes
    beat = json.loads((path / "heartbeat" / str(run.rank)).read_text())
    assert beat["rank"] == run.rank
    assert beat["step"] >= 1


def check_resume_gives_the_same_losses(directory: str) -> None:
    with Run(global_batch=16, shares="equal", checkpoint_every_steps=4) as run:
        _, whole = train_line(run, steps=20)
    run.comm.Barrier()
    if run.rank == 0:
        for path in (Path(directory) / "checkpoints").iterdir():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        (Path(directory) / "metrics.jsonl").unlink()
    run.comm.Barrier()
    with (
        pytest.raises(KeyboardInterrupt),
        Run(global_batch=16, shares="equal", checkpoint_every_steps=4) as interrupted,
    ):
        train_line(interrupted, steps=20, stop_after=11)
    run.comm.Barrier()
    with Run(global_batch=16, shares="equal", checkpoint_every_steps=4) as resumed:
        _, rest = train_line(resumed, steps=20)
    assert rest == whole[8:]
    run.comm.Barrier()
    lines = (Path(directory) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == whole


def check_steps_go_on_while_a_checkpoint_is_written(directory: str) -> None:
    """The disk takes until step 19 to write the checkpoint after step 10."""
    flush, disk_is_ready = os.fsync, threading.Event()

    def flush_slowly(descriptor: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert disk_is_ready.wait(60)
        flush(descriptor)

    vars(os)["fsync"] = flush_slowly
    checkpoints = Path(directory) / "checkpoints"
    weights = np.zeros(2)
    with Run(global_batch=16, checkpoint_every_steps=10, checkpoint_every_s=None) as run:
        run.track(weights=weights)
        for batch in run.batches(50, steps=69):
            if batch.step < 20:
                assert not list(checkpoints.glob("step-*"))
            if batch.step == 19:
                disk_is_ready.set()
            run.average(np.ones(2))
            weights += 1.0
    assert (checkpoints / "step-00000069").is_dir()
    with np.load(checkpoints / "step-00000060" / "arrays.npz") as arrays:
        assert arrays["0"].tolist() == [60.0, 60.0]


def check_another_run_is_refused() -> None:
    with Run(global_batch=16, checkpoint_every_steps=1) as run:
        train_line(run, steps=2)
    for global_batch, seed in ((8, 0), (16, 9)):
        with (
            pytest.raises(CheckpointError, match="submit it as a new job"),
            Run(global_batch=global_batch, seed=seed) as run,
        ):
            train_line(run, steps=4)
    with pytest.raises(CheckpointError, match="tracks"), Run(global_batch=16) as run:
        run.track(other=np.zeros(2))
    with (
        pytest.raises(CheckpointError, match=r"float64\[2\], the script float64\[3\]"),
        Run(global_batch=16) as run,
    ):
        run.track(weights=np.zeros(3))


def check_refusals() -> None:
    with pytest.raises(TrainingError, match="global_batch"):
        Run(global_batch=0)
    with pytest.raises(TrainingError, match="seed"):
        Run(global_batch=1, seed=-1)
    with pytest.raises(TrainingError, match="micro_batch"):
        Run(global_batch=1, micro_batch=0)
    with pytest.raises(TrainingError, match="shares"):
        Run(global_batch=1, shares="1:2:3:4:5")
    with pytest.raises(TrainingError, match="shares"):
        Run(global_batch=1, shares="one")
    with pytest.raises(TrainingError, match="strategy"):
        Run(global_batch=1, averaging="magic")
    run = Run(global_batch=1)
    with pytest.raises(TrainingError, match="inside the loop"):
        run.average(np.zeros(1))
    with pytest.raises(TrainingError, match="epochs or steps"):
        next(run.batches(10))
    with pytest.raises(TrainingError, match="samples"):
        next(run.batches(0, epochs=1))
    with pytest.raises(TrainingError, match="cannot be saved"):
        run.track(bad=object())


def check_world_size() -> None:
    with pytest.raises(WorldSizeError, match="promised 5 ranks"):
        Run(global_batch=1)


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The environment of a rank of a job."""
    (tmp_path / "heartbeat").mkdir()
    return {"BEOWULF_JOB_DIR": str(tmp_path)}


@pytest.mark.parametrize("ranks", RANKS)
def test_everybody_starts_from_rank_0(ranks: int, job: dict[str, str]) -> None:
    on_ranks(ranks, check_everybody_starts_from_rank_0, env=job)


def test_any_split_gives_the_same_losses(tmp_path: Path) -> None:
    """Unequal shares, empty shares and micro-batches change nothing but rounding."""
    splits: list[tuple[int, str | None, int | None]] = [
        (1, None, None), (2, "1:3", None), (3, None, 2), (4, "5:2:1:0", 3),
    ]  # fmt: skip
    for ranks, shares, micro_batch in splits:
        (tmp_path / str(ranks)).mkdir()
        env = {"BEOWULF_JOB_DIR": str(tmp_path / str(ranks))}
        on_ranks(ranks, check_training, shares, micro_batch, str(tmp_path), env=env)
    losses = [json.loads((tmp_path / f"losses-{ranks}").read_text()) for ranks in RANKS]
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-9)


@pytest.mark.parametrize("ranks", RANKS)
def test_files_of_a_run(ranks: int, job: dict[str, str]) -> None:
    on_ranks(ranks, check_files, job["BEOWULF_JOB_DIR"], env=job)


@pytest.mark.parametrize("ranks", RANKS)
def test_resume_gives_the_same_losses(ranks: int, job: dict[str, str]) -> None:
    on_ranks(ranks, check_resume_gives_the_same_losses, job["BEOWULF_JOB_DIR"], env=job)


@pytest.mark.parametrize("ranks", [1, 3])
def test_steps_go_on_while_a_checkpoint_is_written(ranks: int, job: dict[str, str]) -> None:
    check = check_steps_go_on_while_a_checkpoint_is_written
    on_ranks(ranks, check, job["BEOWULF_JOB_DIR"], env=job)


@pytest.mark.parametrize("ranks", RANKS)
def test_checkpoint_of_another_run_is_refused(ranks: int, job: dict[str, str]) -> None:
    on_ranks(ranks, check_another_run_is_refused, env=job)


def test_senseless_values_are_refused(job: dict[str, str]) -> None:
    on_ranks(1, check_refusals, env=job)


@pytest.mark.parametrize("ranks", RANKS)
def test_world_of_another_size_is_refused(ranks: int, job: dict[str, str]) -> None:
    on_ranks(ranks, check_world_size, env={**job, "BEOWULF_RANKS": "5"})


def test_script_started_by_hand_gets_a_directory_of_its_own(tmp_path: Path) -> None:
    out = on_ranks(2, check_by_hand, env={"TMPDIR": str(tmp_path)})
    assert out.count(f"writing to {tmp_path}/beowulf-") == 1
    (directory,) = tmp_path.glob("beowulf-*")
    assert (directory / "result.json").exists()


def check_by_hand() -> None:
    with Run(global_batch=16) as run:
        train_line(run, steps=3)

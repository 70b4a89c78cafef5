"""The figures that a run leaves, from its metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beowulf.job.figures import RankSpeed, TrainingFigures
from beowulf.train.figures import bytes_of, figures_of

HOSTS = ["head", "node1"]


def metrics(directory: Path, *lines: dict[str, Any]) -> Path:
    path = directory / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def line(step: int, shares: list[int], compute_s: list[float]) -> dict[str, Any]:
    times = {"compute_s": compute_s, "step_s": max(compute_s, default=1.0)}
    return {"step": step, "samples": sum(shares), "shares": shares, **times}


def test_a_rank_s_speed_is_the_median_of_its_steps(tmp_path: Path) -> None:
    steps = [
        line(1, [32, 32], [9.0, 9.0]),  # the first steps warm up
        line(2, [32, 32], [9.0, 9.0]),
        line(3, [40, 24], [0.4, 0.5]),
        line(4, [40, 24], [0.4, 0.48]),
        line(5, [44, 20], [4.4, 0.4]),
    ]
    found = figures_of(metrics(tmp_path, *steps), HOSTS, 64, 1_000)
    assert found == TrainingFigures(64, 1_000, (RankSpeed("head", 100.0), RankSpeed("node1", 50.0)))


def test_a_rank_without_a_share_has_no_speed(tmp_path: Path) -> None:
    found = figures_of(metrics(tmp_path, line(3, [64, 0], [1.0, 0.0])), HOSTS, 64, 8)
    assert found is not None
    assert found.ranks == (RankSpeed("head", 64.0), RankSpeed("node1", None))


def test_a_run_that_averaged_nothing_tells_nothing(tmp_path: Path) -> None:
    assert figures_of(metrics(tmp_path, {"step": 1, "shares": [1, 1]}), HOSTS, 2, 8) is None
    assert figures_of(metrics(tmp_path, line(3, [1, 1], [])), HOSTS, 2, 8) is None
    assert figures_of(tmp_path / "none", HOSTS, 2, 8) is None


def test_a_short_run_is_better_than_none(tmp_path: Path) -> None:
    found = figures_of(metrics(tmp_path, line(1, [10, 10], [1.0, 1.0])), HOSTS, 20, 8)
    assert found is not None
    assert found.by_host() == {"head": 10.0, "node1": 10.0}


def test_gradients_are_counted_however_they_come() -> None:
    arrays = [np.zeros(10, np.float32), np.zeros((2, 3), np.float64)]
    assert bytes_of(arrays) == bytes_of(dict(zip("ab", arrays, strict=True))) == 88
    assert bytes_of(arrays[0]) == 40


@pytest.mark.torch
def test_a_module_s_gradients_are_those_of_what_it_learns() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the optional extra, is not installed")
    module = torch.nn.Linear(10, 5)
    module.bias.requires_grad = False
    assert bytes_of(module) == 200

"""What a training tells of itself in its result."""

from __future__ import annotations

from typing import Any

import pytest

from beowulf.job.figures import RankSpeed, TrainingFigures, parse_figures

FIGURES = TrainingFigures(
    256, 2_600_000, (RankSpeed("n1", 100.0), RankSpeed("n1", 90.0), RankSpeed("n2", None))
)


def test_a_result_is_read_back_and_a_host_s_ranks_add_up() -> None:
    assert parse_figures({"final_loss": 0.1, "training": FIGURES.to_json()}) == FIGURES
    assert FIGURES.by_host() == {"n1": 190.0}


@pytest.mark.parametrize(
    "change",
    [
        {"global_batch": 0},
        {"gradient_bytes": -1},
        {"gradient_bytes": "many"},
        {"ranks": [{"host": "n1", "samples_per_s": None}]},
        {"ranks": [{"host": "n1", "samples_per_s": 0}]},
        {"ranks": [{"host": "n1"}]},
        {"ranks": 3},
    ],
)
def test_damaged_figures_are_none(change: dict[str, Any]) -> None:
    assert parse_figures({"training": {**FIGURES.to_json(), **change}}) is None


@pytest.mark.parametrize("result", [None, {}, {"training": None}, {"training": []}, []])
def test_a_result_without_figures_has_none(result: Any) -> None:
    assert parse_figures(result) is None

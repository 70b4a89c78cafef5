"""What a run asks for is checked before its first step."""

from __future__ import annotations

import math

import pytest

from beowulf.errors import TrainingError, WorldSizeError
from beowulf.train.batches import Schedule
from beowulf.train.opening import check_world_size, total_steps, weights_of

SCHEDULE = Schedule(samples=100, global_batch=30, seed=0)


def test_a_world_of_the_size_that_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEOWULF_RANKS", "4")
    check_world_size(4)
    for started in (1, 3, 5):
        with pytest.raises(WorldSizeError, match=f"promised 4 ranks, .* a world of {started}"):
            check_world_size(started)


def test_a_script_started_by_hand_was_promised_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEOWULF_RANKS", raising=False)
    check_world_size(1)
    check_world_size(7)


def test_weights() -> None:
    assert weights_of(None, 3) == (1.0, 1.0, 1.0)
    assert weights_of("5:2:1:0", 4) == (5.0, 2.0, 1.0, 0.0)
    assert weights_of([1, 2], 2) == (1.0, 2.0)


@pytest.mark.parametrize(
    "shares", ["1:2", "1:2:3:4", [1.0], [0, 0, 0], [1, 2, -1], [1, 2, math.nan], "a:b:c", "", []]
)
def test_weights_that_do_not_fit_three_ranks(shares: str | list[float]) -> None:
    with pytest.raises(TrainingError, match=r"^shares: "):
        weights_of(shares, 3)


@pytest.mark.parametrize(
    ("epochs", "steps", "total"),
    [(1, None, 4), (3, None, 12), (None, 7, 7), (3, 7, 7), (1, 7, 4), (0, None, 0), (None, 0, 0)],
)
def test_a_run_ends_at_whichever_limit_comes_first(
    epochs: int | None, steps: int | None, total: int
) -> None:
    assert total_steps(SCHEDULE, epochs, steps) == total


@pytest.mark.parametrize(("epochs", "steps"), [(None, None), (-1, None), (None, -1), (3, -1)])
def test_a_run_without_an_end_is_refused(epochs: int | None, steps: int | None) -> None:
    with pytest.raises(TrainingError, match=r"^batches: "):
        total_steps(SCHEDULE, epochs, steps)


@pytest.mark.parametrize("samples", [0, -1])
def test_a_run_without_data_is_refused(samples: int) -> None:
    with pytest.raises(TrainingError, match=rf"^samples: {samples} "):
        total_steps(Schedule(samples, 30, seed=0), 1, None)

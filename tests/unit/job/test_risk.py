"""What would be lost now is what was trained since the newest checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from beowulf.job.directory import checkpoint_name
from beowulf.job.risk import at_risk_s

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beowulf.job.directory import JobDirectory


def lines(steps: Iterable[int], step_s: float = 2.0) -> list[dict[str, Any]]:
    return [{"step": step, "step_s": step_s} for step in steps]


def save(job: JobDirectory, step: int, *, without: str = "", empty: str = "") -> None:
    place = job.checkpoints / checkpoint_name(step)
    place.mkdir()
    for name in {"arrays.npz", "manifest.json"} - {without}:
        (place / name).write_bytes(b"" if name == empty else b"x")


def test_without_steps_nothing_is_known(job: JobDirectory) -> None:
    assert at_risk_s(job, []) is None
    assert at_risk_s(job, [{"step": "x"}, {"step_s": 1.0}]) is None


def test_without_a_checkpoint_it_is_everything(job: JobDirectory) -> None:
    assert at_risk_s(job, lines(range(1, 6))) == 10.0
    assert at_risk_s(job, lines(range(91, 101))) == 200.0  # no more lines were read


def test_what_is_saved_is_safe(job: JobDirectory) -> None:
    save(job, 97)
    assert at_risk_s(job, lines(range(91, 101))) == 6.0
    save(job, 100)
    assert at_risk_s(job, lines(range(91, 101))) == 0.0
    save(job, 120)  # metrics come later
    assert at_risk_s(job, lines(range(91, 101))) == 0.0


def test_steps_before_the_lines_that_were_read_are_taken_to_be_alike(job: JobDirectory) -> None:
    save(job, 50)
    assert at_risk_s(job, lines(range(91, 101))) == 100.0


@pytest.mark.parametrize("damage", [{"without": "arrays.npz"}, {"empty": "manifest.json"}])
def test_a_checkpoint_that_cannot_be_whole_does_not_count(
    job: JobDirectory, damage: dict[str, str]
) -> None:
    save(job, 10)
    save(job, 19, **damage)
    assert at_risk_s(job, lines(range(1, 21))) == 20.0

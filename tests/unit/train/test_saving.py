"""Checkpoints are due as often as was asked for, and none that is due is forgotten."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from beowulf.job.directory import JobDirectory
from beowulf.job.events import read_events
from beowulf.train import saving
from beowulf.train.checkpoints import Checkpoint
from beowulf.train.saving import Saver
from beowulf.train.state import pack

if TYPE_CHECKING:
    from pathlib import Path

LAST = 1000


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def files(tmp_path: Path) -> JobDirectory:
    return JobDirectory(tmp_path)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"seed": 0}, pack({"weights": np.arange(3.0)}))


def test_pauses_double_up_to_what_was_asked_for(files: JobDirectory, clock: Clock) -> None:
    saver = Saver(files, 5.0, None)
    saved = []
    for step in range(1, 100):
        clock.now += 0.25
        if saver.owes(step, LAST, clock.now):
            saver.save(checkpoint(step), wait=True)
            saved.append(clock.now)
    pauses = [after - before for before, after in zip([50.0, *saved], saved, strict=False)]
    assert pauses == [1.25, 2.25, 4.25, 5.25, 5.25, 5.25]


def test_a_checkpoint_every_few_steps(files: JobDirectory, clock: Clock) -> None:
    saver = Saver(files, None, 3)
    due = []
    for step in range(1, 11):
        clock.now += 100.0
        if saver.owes(step, 10, clock.now):
            saver.save(checkpoint(step))
            due.append(step)
    assert due == [3, 6, 9, 10]


def test_none_but_the_last(files: JobDirectory, clock: Clock) -> None:
    saver = Saver(files, None, None)
    assert [saver.owes(step, 4, clock.now + 1e6) for step in (1, 2, 3, 4)] == [
        False, False, False, True,
    ]  # fmt: skip


def test_one_that_cannot_be_made_yet_stays_due(files: JobDirectory, clock: Clock) -> None:
    saver = Saver(files, None, 3)
    assert [saver.owes(step, LAST, clock.now) for step in (2, 3, 4, 5)] == [
        False, True, True, True,
    ]  # fmt: skip
    saver.save(checkpoint(5))
    assert not saver.owes(7, LAST, clock.now)


def test_time_counts_from_when_the_loop_begins(files: JobDirectory, clock: Clock) -> None:
    saver = Saver(files, 60.0, None)
    clock.now += 30.0
    saver.begin()
    assert not saver.owes(1, LAST, clock.now + 1.0)
    assert saver.owes(2, LAST, clock.now + 1.1)


def test_the_newest_valid_checkpoint_is_loaded_and_told_of(
    files: JobDirectory, clock: Clock
) -> None:
    said: list[object] = []
    saver = Saver(files, None, None, say=said.append)
    for step in (5, 9):
        saver.save(checkpoint(step), wait=True)
    (files.checkpoints / "step-00000009" / "arrays.npz").write_bytes(b"rot")
    loaded = saver.load(is_first_attempt=False)
    assert loaded is not None
    assert loaded.step == 5
    assert [str(word).split(" (")[0] for word in said] == [
        "beowulf: checkpoint step-00000009 is damaged",
        "beowulf: going on after step 5",
    ]
    events = [event["event"] for event in read_events(files)]
    assert events == ["checkpoint_rejected", "resumed"]


@pytest.mark.parametrize("is_first_attempt", [True, False])
def test_only_a_run_that_was_to_go_on_misses_its_checkpoint(
    files: JobDirectory, is_first_attempt: bool
) -> None:
    said: list[object] = []
    saver = Saver(files, None, None, say=said.append)
    assert saver.load(is_first_attempt=is_first_attempt) is None
    assert len(said) == (0 if is_first_attempt else 1)

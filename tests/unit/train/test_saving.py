"""Checkpoints are due as often as was asked for, and none that is due is forgotten."""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from beowulf.errors import Fenced
from beowulf.job.directory import JobDirectory
from beowulf.job.events import read_events
from beowulf.train import saving
from beowulf.train.checkpoints import Checkpoint
from beowulf.train.saving import Saver
from beowulf.train.state import pack

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


# --- Behind the training's back -----------------------------------------------------------


class Disk:
    """The operating system's fsync, which takes as long, or fails, as a test wants.

    There is always room for a line of the job's story.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error: OSError | None = None
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, descriptor: int) -> None:
        assert self.goes_on.wait(30.0)
        is_story = Path(f"/proc/self/fd/{descriptor}").readlink().name == "events.jsonl"
        if self.error and not is_story:
            raise self.error
        self._real(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def there(files: JobDirectory) -> list[int]:
    return files.checkpoint_steps()


def test_training_goes_on_while_a_checkpoint_is_written(
    files: JobDirectory, clock: Clock, disk: Disk
) -> None:
    saver = Saver(files, 5.0, None)
    disk.goes_on.clear()
    weights = np.arange(3.0)
    clock.now += 1.1
    assert saver.owes(1, LAST, clock.now)
    saver.save(Checkpoint(1, {}, pack({"weights": weights})))
    weights += 1.0
    for step in range(2, 20):  # the next is due, and waits
        clock.now += 10.0
        assert not saver.owes(step, LAST, clock.now)
    assert there(files) == []
    disk.goes_on.set()
    saver.wait()
    assert there(files) == [1]
    loaded = saver.load(is_first_attempt=True)
    assert loaded is not None
    assert loaded.state.arrays[0].tolist() == [0.0, 1.0, 2.0]
    assert saver.owes(20, LAST, clock.now)


@pytest.mark.parametrize(("every_steps", "total"), [(2, LAST), (None, 4)])
def test_one_that_must_be_of_this_very_step_waits_for_the_one_before(
    files: JobDirectory, clock: Clock, disk: Disk, every_steps: int | None, total: int
) -> None:
    saver = Saver(files, 5.0, every_steps)
    disk.goes_on.clear()
    saver.save(checkpoint(2))
    assert not saver.owes(3, total, clock.now + 100.0)
    assert saver.owes(4, total, clock.now + 100.0)
    threading.Timer(0.05, disk.goes_on.set).start()
    saver.save(checkpoint(4), wait=True)
    assert there(files) == [4, 2]


def test_memory_for_a_large_copy_is_made_ready_first(files: JobDirectory, clock: Clock) -> None:
    saver = Saver(files, 5.0, None)
    large = Checkpoint(1, {}, pack({"weights": np.zeros(1 << 20)}))
    assert saver.owes(1, LAST, clock.now + 2.0)
    saver.save(large)
    saver.wait()
    assert there(files) == []
    assert saver.owes(2, LAST, clock.now)  # it is due still
    saver.save(replace(large, step=2))
    saver.wait()
    assert there(files) == [2]
    assert not saver.owes(3, LAST, clock.now)


def test_memory_is_not_waited_for_at_the_end(files: JobDirectory, clock: Clock) -> None:
    saver = Saver(files, None, None)
    assert saver.owes(9, 9, clock.now)
    saver.save(Checkpoint(9, {}, pack({"weights": np.zeros(1 << 20)})), wait=True)
    assert there(files) == [9]


def test_who_is_in_a_hurry_does_not_wait(files: JobDirectory, disk: Disk) -> None:
    saver = Saver(files, None, None)
    disk.goes_on.clear()
    saver.save(checkpoint(1))
    saver.wait(0.01)
    assert there(files) == []
    disk.goes_on.set()
    saver.wait()
    assert there(files) == [1]


# --- What can go wrong --------------------------------------------------------------------


def test_a_full_disk_is_told_of_once_and_tried_again(
    files: JobDirectory, clock: Clock, disk: Disk
) -> None:
    said: list[object] = []
    saver = Saver(files, 60.0, None, say=said.append)
    saver.save(checkpoint(3), wait=True)
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    for step in (5, 7):
        clock.now += 100.0
        assert saver.owes(step, LAST, clock.now)
        saver.save(checkpoint(step))
        saver.wait()
        assert not saver.owes(step + 1, LAST, clock.now)
    (failed,) = said
    assert failed == (
        "beowulf: checkpoint after step 5 could not be written (No space left on device); "
        "training goes on, the newest one is of step 3"
    )
    assert os.listdir(files.checkpoints) == ["step-00000003"]  # noqa: PTH208 - the names
    disk.error = None
    saver.save(checkpoint(9))
    saver.wait()
    (_, works) = said
    assert works == (
        "beowulf: checkpoint after step 9 could be written, as none could since step 5 "
        "(No space left on device)"
    )
    (event,) = read_events(files)
    assert (event["event"], event["step"]) == ("checkpoint_failed", 5)
    assert event["why"] == "No space left on device"


def test_the_story_is_told_when_there_is_room_for_it(
    files: JobDirectory, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver(files, 60.0, None, say=lambda _: None)
    disk.error = OSError(errno.EDQUOT, "Disk quota exceeded")
    with monkeypatch.context() as patch:
        patch.setattr(saving, "record_event", _no_room)
        saver.save(checkpoint(5), wait=True)
    assert read_events(files) == []
    saver.save(checkpoint(7), wait=True)
    assert [event["step"] for event in read_events(files)] == [5]


def _no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_last_one_that_fails_is_told_of_in_any_case(files: JobDirectory, disk: Disk) -> None:
    said: list[object] = []
    saver = Saver(files, 60.0, None, say=said.append)
    disk.error = OSError(errno.EIO, "Input/output error")
    for step in (5, 9):
        saver.owes(step, 9, 0.0)
        saver.save(checkpoint(step), wait=step == 9)
        saver.wait()
    assert [str(line).partition("; ")[2] for line in said] == [
        "training goes on, there is none so far",
        "this was the last step, there is none so far",
    ]


def test_who_was_cut_off_hears_of_it_at_the_next_step(files: JobDirectory, clock: Clock) -> None:
    saver = Saver(files, 60.0, None, may_write=lambda: False)
    saver.save(checkpoint(5))
    while saver.is_writing:
        time.sleep(0.001)
    with pytest.raises(Fenced, match="after step 5"):
        saver.owes(7, LAST, clock.now)
    assert there(files) == []
    assert read_events(files) == []


def test_what_this_program_does_wrong_is_not_passed_over(files: JobDirectory) -> None:
    saver = Saver(files, 60.0, None)
    saver.save(Checkpoint(5, {"seed": {1}}, pack({})))
    with pytest.raises(TypeError):
        saver.wait()


def test_the_interval_follows_from_what_a_checkpoint_costs(
    files: JobDirectory, clock: Clock
) -> None:
    """One failure a day is assumed, so that a cost of 0.01 s makes it 42 s, of 0.1 s 131 s."""
    saver = Saver(files, 100.0, None)
    pauses, step = [], 0
    for cost in (*[0.01] * 8, *[0.1] * 12):
        began = clock.now
        while not saver.owes(step, LAST * LAST, clock.now):
            step += 1
            clock.now += 0.125
        pauses.append(clock.now - began)
        saver.save(checkpoint(step), wait=True)
        clock.now += 0.125 + cost
    assert pauses[0] == pytest.approx(1.1, abs=0.2)
    assert pauses[7] == pytest.approx(41.6, abs=1.0)
    assert pauses[-1] == pytest.approx(100.0, abs=1.0)

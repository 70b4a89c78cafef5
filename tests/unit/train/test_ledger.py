"""Each rank writes what is its to write, and hands over whole what it hands over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from beowulf.durable import read_json, read_json_lines
from beowulf.job.directory import JobDirectory
from beowulf.job.events import read_events
from beowulf.job.heartbeat import Heartbeat, read_heartbeat
from beowulf.train.ledger import Ledger
from beowulf.train.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> JobDirectory:
    return JobDirectory(tmp_path)


def wait_until_idle(ledger: Ledger) -> None:
    ledger._heartbeats.wait()


def steps(files: JobDirectory) -> list[int]:
    return [line["step"] for line in read_json_lines(files.metrics)]


def test_rank_0_alone_writes_metrics_to_begin_with(files: JobDirectory) -> None:
    ledgers = [Ledger(files, rank, 1) for rank in (0, 1)]
    assert [ledger.has_metrics for ledger in ledgers] == [True, False]
    for ledger in ledgers:
        ledger.add({"step": 1})
        ledger.flush()
    assert steps(files) == [1]
    assert ledgers[1].forget_after(0) is None
    assert steps(files) == [1]
    assert ledgers[0].forget_after(0) == {}
    assert steps(files) == []


def test_another_rank_writes_while_rank_0_rests(files: JobDirectory) -> None:
    first, second = Ledger(files, 0, 1), Ledger(files, 1, 1)
    first.add({"step": 1})
    first.flush()
    second.take_over()
    second.add({"step": 2})
    second.take_over()  # whoever leads on: nothing that waits is lost
    second.flush()
    second.give_back()
    first.take_over()
    assert [first.has_metrics, second.has_metrics] == [True, False]
    first.add({"step": 3})
    first.flush()
    assert steps(files) == [1, 2, 3]


def test_another_rank_goes_on_with_the_metrics_of_one_that_is_lost(files: JobDirectory) -> None:
    lost, next_one = Ledger(files, 0, 1), Ledger(files, 1, 1)
    lost.add({"step": 1})
    lost.flush()
    for step in (2, 3):
        lost.add({"step": step, "by": "one who is gone"})  # which nobody has read
    next_one.go_on(3, [{"step": step} for step in (1, 2, 3, 4)])
    assert next_one.has_metrics
    assert steps(files) == [1, 2, 3]


def test_lines_of_steps_that_are_done_again_are_dropped(files: JobDirectory) -> None:
    ledger = Ledger(files, 0, 1)
    for step in (1, 2, 3):
        ledger.add({"step": step})
    ledger.go_on(1, [])
    ledger.add({"step": 2})
    ledger.flush()
    assert steps(files) == [1, 2]


def test_the_story_tells_of_a_plan_behind_the_steps_that_led_to_it(files: JobDirectory) -> None:
    ledger = Ledger(files, 0, 1)
    for step in (1, 2):
        ledger.add({"step": step})
    ledger.tell_plan({"way": "dense"})
    assert steps(files) == [1, 2]
    assert [(event["event"], event["way"]) for event in read_events(files)] == [
        ("planned", "dense")
    ]


def test_a_rank_says_once_a_second_that_it_is_there(files: JobDirectory) -> None:
    files.heartbeats.mkdir()
    ledger = Ledger(files, 3, attempt=2)
    said = []
    for step, now in enumerate((100.0, 100.5, 101.0, 101.1)):
        ledger.look_after(now, step)
        wait_until_idle(ledger)
        heartbeat = read_heartbeat(files, 3)
        assert heartbeat is not None
        assert heartbeat.attempt == 2
        said.append(heartbeat.step)
    assert said == [0, 0, 0, 3]


def test_training_does_not_wait_for_files_that_are_away(
    files: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.heartbeats.mkdir()
    write, is_back, written = Heartbeat.write, threading.Event(), []

    def write_once_it_is_back(heartbeat: Heartbeat, to: JobDirectory) -> None:
        is_back.wait(60)
        write(heartbeat, to)
        written.append(heartbeat.step)

    monkeypatch.setattr(Heartbeat, "write", write_once_it_is_back)
    ledger = Ledger(files, 0, attempt=1)
    for step in range(1, 10):
        ledger.look_after(100.0 + 2 * step, step)  # returns, though nothing can be written
    assert read_heartbeat(files, 0) is None
    is_back.set()
    wait_until_idle(ledger)
    ledger.look_after(200.0, 10)
    ledger.end_heartbeats()
    assert written == [1, 10]


def test_nothing_is_written_of_a_rank_after_its_last_heartbeat(files: JobDirectory) -> None:
    files.heartbeats.mkdir()
    ledger = Ledger(files, 0, attempt=1)
    ledger.look_after(100.0, 7)
    ledger.end_heartbeats()
    heartbeat = read_heartbeat(files, 0)
    assert heartbeat is not None
    assert heartbeat.step == 7
    ledger.look_after(200.0, 8)
    ledger.end_heartbeats()
    assert read_heartbeat(files, 0) == heartbeat


def test_what_is_wrong_with_writing_is_not_kept_silent(
    files: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.heartbeats.mkdir()
    monkeypatch.setattr(Heartbeat, "write", lambda *_: 1 / 0)
    ledger = Ledger(files, 0, attempt=1)
    ledger.look_after(100.0, 1)
    with pytest.raises(ZeroDivisionError):
        ledger.end_heartbeats()


def test_a_script_started_by_hand_has_nobody_to_tell(files: JobDirectory) -> None:
    ledger = Ledger(files, 0, 1)
    ledger.look_after(100.0, 1)
    ledger.end_heartbeats()
    assert not files.heartbeats.exists()


def test_the_result_holds_what_was_counted_and_what_the_script_reports(
    files: JobDirectory,
) -> None:
    ledger = Ledger(files, 0, 1)
    ledger.reported["test_accuracy"] = 0.97
    tally = Tally(steps=10, samples=640, training_s=2.0, loss=0.5)
    ledger.write_result(tally, ["ada", "bob"], 64, 4096)
    assert read_json(files.result) == {
        "final_loss": 0.5,
        "steps": 10,
        "samples_per_s": 320.0,
        "world_size": 2,
        "test_accuracy": 0.97,
    }


def test_the_result_counts_those_who_are_left(files: JobDirectory) -> None:
    Ledger(files, 1, 1).write_result(Tally(steps=1), ["ada", "bob", "eve"], 64, 0, lost=1)
    assert read_json(files.result)["world_size"] == 2


def test_what_a_script_reports_goes_before_what_was_counted(files: JobDirectory) -> None:
    ledger = Ledger(files, 0, 1)
    ledger.reported["steps"] = 3
    ledger.write_result(Tally(steps=10), ["ada"], 64, 0)
    assert read_json(files.result)["steps"] == 3

"""Every step's line reaches the file, and steps that are done again are told once."""

from __future__ import annotations

import errno
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.durable import read_json_lines
from beowulf.train import metrics
from beowulf.train.metrics import MetricsWriter
from tests.conftest import fill

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def steps(path: Path) -> list[int]:
    return [line["step"] for line in read_json_lines(path)]


def test_lines_are_written_as_they_are(path: Path) -> None:
    writer = MetricsWriter(path)
    lines: list[dict[str, Any]] = [
        {"step": 1, "total_steps": 2, "loss": 0.1, "shares": (40, 24), "step_s": 0.25},
        {"step": 2, "total_steps": 2, "loss": None, "shares": (64, 0), "step_s": 1e-7},
    ]
    for line in lines:
        writer.append(line)
    writer.flush()
    assert read_json_lines(path) == json.loads(json.dumps(lines))


def test_nothing_is_lost_between_two_flushes(path: Path) -> None:
    writer = MetricsWriter(path)
    for step in range(1, 1001):
        writer.append({"step": step})
    writer.flush()
    writer.flush()
    assert steps(path) == list(range(1, 1001))


def test_a_step_does_not_wait_for_the_disk_every_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now))
    writer = MetricsWriter(path)
    writer.append({"step": 1})
    assert steps(path) == [1]
    now += 0.4
    writer.append({"step": 2})
    assert steps(path) == [1]
    now += 0.2
    writer.append({"step": 3})
    assert steps(path) == [1, 2, 3]


def test_a_run_that_goes_on_forgets_the_steps_it_does_again(path: Path) -> None:
    path.write_text("".join(f'{{"step": {step}, "loss": {step}.5}}\n' for step in range(1, 8)))
    with path.open("a") as file:
        file.write('{"step": 8, "lo')  # the run was killed here
    writer = MetricsWriter(path)
    assert writer.forget_after(5) == {"step": 5, "loss": 5.5}
    writer.append({"step": 6})
    writer.flush()
    assert steps(path) == [1, 2, 3, 4, 5, 6]
    assert path.read_bytes().endswith(b'{"step": 6}\n')


def test_a_fresh_run_has_nothing_to_forget(path: Path) -> None:
    assert MetricsWriter(path).forget_after(0) == {}
    assert steps(path) == []


def test_a_run_that_starts_again_forgets_everything(path: Path) -> None:
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert MetricsWriter(path).forget_after(0) == {}
    assert path.read_bytes() == b""


def test_a_loss_that_is_no_number_is_kept(path: Path) -> None:
    writer = MetricsWriter(path)
    writer.append({"step": 1, "loss": float("nan")})
    writer.append({"step": 2, "loss": float("inf")})
    writer.flush()
    first, second = read_json_lines(path)
    assert first["loss"] != first["loss"]
    assert second["loss"] == float("inf")


@pytest.mark.root
def test_a_full_disk_loses_no_line(small_disk: Path) -> None:
    path = small_disk / "metrics.jsonl"
    writer = MetricsWriter(path)
    writer.append({"step": 1})
    filler = fill(small_disk)
    for step in range(2, 2001):
        writer.append({"step": step, "more": "x" * 100})
        if step % 500 == 0:
            writer.flush()
            assert steps(path) == [1]
            assert path.read_bytes().endswith(b"}\n")
    filler.unlink()
    writer.flush()
    assert steps(path) == list(range(1, 2001))


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path / "gone" / "metrics.jsonl")
    with pytest.raises(FileNotFoundError):
        writer.append({"step": 1})


def test_a_server_that_takes_no_lines_now_gets_them_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = MetricsWriter(path)
    writer.append({"step": 1})
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(metrics, "append", refuse)
        writer.append({"step": 2})
        writer.flush()
    writer.append({"step": 3})
    writer.flush()
    assert steps(path) == [1, 2, 3]


def test_who_is_replaced_writes_into_nothing(path: Path) -> None:
    cut_off, next_one = MetricsWriter(path), MetricsWriter(path)
    cut_off.append({"step": 1})
    cut_off.flush()
    assert next_one.forget_after(1) == {"step": 1}
    next_one.append({"step": 2})
    next_one.flush()
    cut_off.append({"step": 2})
    cut_off.flush()
    assert steps(path) == [1, 2]


@pytest.mark.root
def test_on_a_full_disk_the_file_stays_as_it_is(small_disk: Path) -> None:
    path = small_disk / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    fill(small_disk)
    writer = MetricsWriter(path)
    assert writer.forget_after(2) == {"step": 2}
    with pytest.raises(OSError, match="No space left"):
        writer.forget_after(1)
    assert steps(path) == [1, 2]

"""A process is known again by its number and its beginning, and the dead are none."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import LabError
from beowulf.lab import process
from beowulf.lab.process import Recorded, end, find_by_words, kill, read, record

SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(SLEEP)
    yield started
    started.kill()
    started.wait()


def wait_for_zombie(pid: int) -> None:
    deadline = time.monotonic() + 60
    while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_living_process_is_found(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    assert read(path) is None
    recorded = record(path, sleeper.pid)
    found = read(path)
    assert found is not None
    assert found.pid == sleeper.pid == recorded.pid


def test_everybody_may_see_what_runs(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    record(tmp_path / "process.json", sleeper.pid)
    assert (tmp_path / "process.json").stat().st_mode & 0o777 == 0o644


def test_another_process_with_the_same_number_is_another(
    sleeper: subprocess.Popen[bytes],
) -> None:
    began = psutil.Process(sleeper.pid).create_time()
    assert Recorded(sleeper.pid, began).find() is not None
    for other in (began - 5, began + 5, 0.0, float("nan"), float("inf")):
        assert Recorded(sleeper.pid, other).find() is None


def test_a_process_whose_number_was_taken_is_not_killed(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"pid": sleeper.pid, "began": 1.0}))
    end(path)
    assert sleeper.poll() is None
    assert not path.exists()


def test_a_zombie_counts_as_dead(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    record(path, sleeper.pid)
    sleeper.kill()
    wait_for_zombie(sleeper.pid)
    assert read(path) is None
    kill([psutil.Process(sleeper.pid)])


def test_a_dead_process_is_none(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    record(path, sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert read(path) is None
    end(path)
    end(path)


def test_ending_kills_even_what_is_stopped_and_forgets_it(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "process.json"
    record(path, sleeper.pid)
    psutil.Process(sleeper.pid).suspend()
    end(path)
    assert not path.exists()
    assert sleeper.wait(60) == -9


def test_what_does_not_end_is_named(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "END_TIMEOUT_S", 0.05)
    monkeypatch.setattr(psutil.Process, "kill", lambda _: None)
    with pytest.raises(LabError, match=f"^process {sleeper.pid} does not end, though it was kill"):
        kill([psutil.Process(sleeper.pid)])


def test_processes_are_found_by_all_of_their_words(sleeper: subprocess.Popen[bytes]) -> None:
    words = {"-c", "import time; time.sleep(1000)"}
    assert sleeper.pid in [found.pid for found in find_by_words(words)]
    assert find_by_words({*words, "another"}) == []
    assert find_by_words({"import time"}) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["pid", "began"]), inner)
    ),
    max_leaves=4,
)


@given(VALUES)
def test_a_damaged_record_is_no_process(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "process.json"
    path.write_text(json.dumps(value))
    assert read(path) is None


@given(VALUES, VALUES)
def test_a_record_with_other_values_is_no_process(tmp_path: Path, pid: Any, began: Any) -> None:
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"pid": pid, "began": began}))
    assert read(path) is None


def test_half_a_record_is_no_process(tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    path.write_text('{"pid": 1, "be')
    assert read(path) is None

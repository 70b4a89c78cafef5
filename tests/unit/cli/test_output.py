"""Numbers and times as people read them, and JSON that every program can read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.cli.output import duration, number, print_json, progress_words, result_lines
from beowulf.durable import write_json
from beowulf.job.directory import JobDirectory
from beowulf.job.record import read_record


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"), (0, "0s"), (0.9, "0s"), (42, "42s"), (59.99, "59s"), (60, "1m 00s"),
        (185, "3m 05s"), (3599, "59m 59s"), (3600, "1h 00m"), (7800, "2h 10m"),
        (86_399, "23h 59m"), (86_400, "1d 0h"), (442_800, "5d 3h"), (31_536_000, "365d 0h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"), (0.0, "0"), (0.65413, "0.6541"), (12.0, "12"), (2.5, "2.5"), (-0.25, "-0.25"),
        (1234.5678, "1235"), (9999.4, "9999"), (9999.9, "10,000"), (290_095.3, "290,095"),
        (-12_345.6, "-12,346"), (1e-7, "1e-07"), (math.nan, "nan"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_numbers(value: float | None, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ((3, 100, 0.5, 1234.0, 65.0), "step 3/100  loss 0.5  1234 samples/s  1m 05s left"),
        ((3, None, None, None, None), "step 3"),
        ((100, 100, 0.25, 98.7, 0.0), "step 100/100  loss 0.25  98.7 samples/s"),
        ((3, 9, 0.0, 0.0, None), "step 3/9  loss 0  0 samples/s"),
    ],
)
def test_progress_in_words(given_: tuple[Any, ...], words: str) -> None:
    keys = ("step", "total_steps", "loss", "samples_per_s", "time_left_s")
    assert progress_words(dict(zip(keys, given_, strict=True))) == words


def test_json_is_one_document_with_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(jobs=[{"id": "1", "loss": math.nan, "more": (1, [math.inf, -0.5])}], text="\udcff é")
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.isascii()
    assert json.loads(printed, parse_constant=pytest.fail) == {
        "schema": 1,
        "jobs": [{"id": "1", "loss": None, "more": [1, [None, -0.5]]}],
        "text": "\udcff é",
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(VALUES)
def test_any_document_can_be_read_by_a_strict_reader(
    capsys: pytest.CaptureFixture[str], value: Any
) -> None:
    print_json(value=value)
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["schema"] == 1


def test_a_result_is_shown_without_what_is_for_predictions(job: JobDirectory) -> None:
    figures = {"global_batch": 8, "gradient_bytes": 16, "ranks": []}
    write_json(job.result, {"final_loss": 0.5, "accuracy": None, "training": figures})
    assert result_lines(read_record(job)) == [("final_loss", "0.5")]
    write_json(job.result, {"training": "on a script's own word"})
    assert result_lines(read_record(job)) == [("training", "on a script's own word")]

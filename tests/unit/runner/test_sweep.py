"""A sweep is every combination of the values that arguments may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import InvalidInput
from beowulf.runner.spec import spec_from
from beowulf.runner.sweep import trials


def test_every_combination_is_tried_the_last_argument_changing_first() -> None:
    words = [trial.words for trial in trials(["lr=0.1,0.01", "--hidden=8,16"])]
    assert words == [
        ("--lr", "0.1", "--hidden", "8"), ("--lr", "0.1", "--hidden", "16"),
        ("--lr", "0.01", "--hidden", "8"), ("--lr", "0.01", "--hidden", "16"),
    ]  # fmt: skip


def test_a_trial_is_the_job_with_more_words() -> None:
    spec = spec_from({"command": ["python", "train.py", "--epochs", "3"]})
    (trial,) = trials(["lr=0.5"])
    assert trial.of(spec).command == ("python", "train.py", "--epochs", "3", "--lr", "0.5")


def test_values_are_taken_as_they_are() -> None:
    assert [trial.settings for trial in trials(["text=a b,,$(x)=1"])] == [
        (("text", "a b"),), (("text", ""),), (("text", "$(x)=1"),),
    ]  # fmt: skip


@pytest.mark.parametrize("setting", ["lr", "=1", "a b=1", "1=2", "", "--=3", "-x\n=1"])
def test_what_names_no_argument_is_refused(setting: str) -> None:
    with pytest.raises(InvalidInput, match=r"^--array: .*write it as --array lr=0\.1,0\.01"):
        trials([setting])


def test_an_argument_that_comes_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="lr is given twice"):
        trials(["lr=1", "lr=2"])


def test_too_many_jobs_are_refused_before_they_are_counted() -> None:
    many = ",".join(map(str, range(1000)))
    assert len(trials([f"a={many}"])) == 1000
    with pytest.raises(InvalidInput, match="more than 1000 jobs"):
        trials([f"{name}={many}" for name in "abcdefgh"])


@given(st.text())
def test_any_setting_is_read_or_refused(setting: str) -> None:
    try:
        found = trials([setting])
    except InvalidInput:
        return
    assert all(len(trial.words) == 2 for trial in found)

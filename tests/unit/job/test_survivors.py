"""Who goes on after a loss is said once, and holds for everybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from beowulf.job.directory import JobDirectory
from beowulf.job.survivors import (
    Survivors,
    claim_survival,
    may_write,
    newest_survivors,
    read_survivors,
)

FIRST = Survivors(attempt=1, number=1, ranks=(0, 2), lost=(1,), step=40)


@pytest.fixture
def files(tmp_path: Path) -> JobDirectory:
    return JobDirectory(tmp_path)


def test_whoever_comes_first_goes_on(files: JobDirectory) -> None:
    assert claim_survival(files, FIRST) == FIRST
    other_side = replace(FIRST, ranks=(1,), lost=(0, 2))
    assert claim_survival(files, other_side) == FIRST
    assert newest_survivors(files, 1) == FIRST


def test_the_latest_loss_of_an_attempt_counts(files: JobDirectory) -> None:
    second = replace(FIRST, number=2, ranks=(2,), lost=(0, 1))
    assert newest_survivors(files, 1) is None
    claim_survival(files, FIRST)
    claim_survival(files, second)
    assert newest_survivors(files, 1) == second
    assert newest_survivors(files, 2) is None


def test_nothing_is_left_but_the_claims(files: JobDirectory) -> None:
    claim_survival(files, FIRST)
    claim_survival(files, FIRST)
    assert files.names() == {"survivors-1-1"}


def test_who_does_not_know_of_the_latest_loss_may_not_write(files: JobDirectory) -> None:
    assert may_write(files, 1, losses=0)
    claim_survival(files, FIRST)
    assert not may_write(files, 1, losses=0)
    assert may_write(files, 1, losses=1)


def test_nobody_of_an_attempt_before_may_write(files: JobDirectory) -> None:
    files.claim(2).write_text("7\n")
    assert not may_write(files, 1, losses=0)
    assert may_write(files, 2, losses=0)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"attempt": "x"}', "null", "\x00"])
def test_a_damaged_claim_is_no_claim(text: str, files: JobDirectory) -> None:
    files.survivors(1, 1).write_text(text)
    assert read_survivors(files, 1, 1) is None
    with pytest.raises(ValueError, match="survivors-1-1 is damaged"):
        claim_survival(files, FIRST)

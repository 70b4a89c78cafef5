"""One Slurm job runs an attempt, whoever else is started for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from beowulf.job.directory import JobDirectory
from beowulf.runner.claim import claim, claim_anew, claim_next


def test_the_first_to_claim_has_it(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    assert claim(directory, 1, 71) == 71
    assert claim(directory, 1, 72) == 71
    assert directory.claim(1).read_text() == "71\n"


def test_a_job_that_slurm_starts_again_keeps_its_claim(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    assert [claim(directory, 1, 71), claim(directory, 1, 71)] == [71, 71]


def test_each_attempt_is_claimed_by_itself(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    assert [claim(directory, 1, 71), claim(directory, 2, 72)] == [71, 72]


def test_of_many_at_once_one_has_it_and_nothing_is_left_behind(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    owners: list[int] = []
    threads = [
        threading.Thread(target=lambda number=number: owners.append(claim(directory, 1, number)))
        for number in range(1, 17)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(owners) == 16
    assert len(set(owners)) == 1
    assert list(tmp_path.iterdir()) == [directory.claim(1)]


def test_a_damaged_claim_is_an_error(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    directory.claim(1).write_text("")
    with pytest.raises(ValueError, match="invalid literal"):
        claim(directory, 1, 71)


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        claim(JobDirectory(tmp_path / "gone"), 1, 71)


def test_each_start_by_slurm_after_the_first_is_an_attempt_of_its_own(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    assert claim_next(directory, 4, 71, restarts=0) == (4, 71)
    assert claim_next(directory, 4, 71, restarts=1) == (5, 71)
    assert claim_anew(directory, 6, 71)  # by the supervisor itself
    assert claim_next(directory, 4, 71, restarts=2) == (7, 71)


def test_a_start_that_did_not_get_as_far_as_its_claim_is_not_counted(tmp_path: Path) -> None:
    assert claim_next(JobDirectory(tmp_path), 4, 71, restarts=2) == (4, 71)


def test_another_slurm_job_s_attempt_stays_its_own(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    assert claim(directory, 4, 71) == 71
    assert claim_next(directory, 4, 72, restarts=0) == (4, 71)
    assert claim_next(directory, 4, 72, restarts=1) == (4, 71)
    assert not directory.claim(5).exists()


def test_an_attempt_is_new_for_one_only_though_both_are_the_same_job(tmp_path: Path) -> None:
    directory = JobDirectory(tmp_path)
    assert [claim_anew(directory, 2, 71), claim_anew(directory, 2, 71)] == [True, False]
    assert list(tmp_path.iterdir()) == [directory.claim(2)]

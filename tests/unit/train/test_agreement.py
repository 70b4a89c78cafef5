"""Of those who are cut off from each other, one part goes on: who says so first."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from beowulf.errors import RanksLost
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.heartbeat import Heartbeat
from beowulf.job.survivors import newest_survivors
from beowulf.train import agreement
from beowulf.train.agreement import Before, agreed, has_failed


@dataclass
class Alone:
    """A communicator of one."""

    rank: int = 0

    def bcast(self, value: Any) -> Any:
        return value


@dataclass
class Left:
    """Those who are left, as their first one sees it."""

    ranks: tuple[int, ...]
    size: int = 4
    comm: Alone = field(default_factory=Alone)

    @property
    def rank(self) -> int:
        return self.ranks[0]

    @property
    def lost(self) -> tuple[int, ...]:
        return tuple(rank for rank in range(self.size) if rank not in self.ranks)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobDirectory:
    monkeypatch.setattr(agreement, "MINORITY_PAUSE_S", 0.0)
    (tmp_path / "heartbeat").mkdir()
    return JobDirectory(tmp_path)


def agree(files: JobDirectory, *ranks: int, losses: int = 0) -> int:
    before = Before(1, losses, 0, 40)
    return agreed(Left(ranks), files, before)  # type: ignore[arg-type]  # all that is asked


def test_losses_are_counted(files: JobDirectory) -> None:
    assert agree(files, 0, 1, 2) == 1
    assert agree(files, 0, 2, losses=1) == 2
    newest = newest_survivors(files, 1)
    assert newest is not None
    assert (newest.ranks, newest.lost) == ((0, 2), (1, 3))


def test_who_comes_second_is_cut_off(files: JobDirectory) -> None:
    assert agree(files, 0, 1, 2) == 1
    with pytest.raises(RanksLost, match="others go on without it"):
        agree(files, 3)


def test_one_who_agreed_and_is_lost_at_once_costs_nobody_else(files: JobDirectory) -> None:
    assert agree(files, 0, 1, 2) == 1  # of which 1 and 2 never heard
    assert agree(files, 1, 2) == 2


def test_a_script_that_failed_on_one_rank_is_not_gone_on_without(files: JobDirectory) -> None:
    Heartbeat(1, 1, state="failed", exit_code=1, error="ValueError: 7").write(files)
    assert has_failed(files, 1, (1,))
    with pytest.raises(RanksLost, match="or have failed"):
        agree(files, 0, 2, 3)
    assert newest_survivors(files, 1) is None


def test_nobody_goes_on_while_all_are_ended_to_grow(files: JobDirectory) -> None:
    record_event(files, "growing", attempt=7, hosts=["node3"], why="node3 is back")
    assert agree(files, 0, 1, 2) == 1
    record_event(files, "growing", attempt=1, hosts=["node3"], why="node3 is back")
    with pytest.raises(RanksLost):
        agree(files, 0, 1, losses=1)


@pytest.mark.parametrize(
    "said",
    [
        Heartbeat(1, 1, state="failed", exit_code=137, error="killed by signal 9 (SIGKILL)"),
        Heartbeat(1, 1, state="failed", exit_code=75, error="cannot go on"),
        Heartbeat(1, 1, state="running"),
        Heartbeat(1, 7, state="failed", exit_code=1, error="of another attempt"),
    ],
)
def test_one_who_was_taken_away_has_not_failed(said: Heartbeat, files: JobDirectory) -> None:
    said.write(files)
    assert not has_failed(files, 1, (1, 2))


def test_where_nothing_can_be_written_nobody_goes_on(
    files: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(agreement, "claim_survival", full)
    with pytest.raises(RanksLost):
        agree(files, 0, 1, 2)

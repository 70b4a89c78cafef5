"""What Slurm's commands print is understood, and so is their silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import CommandFailed
from beowulf.head import queue
from beowulf.head.queue import Queued, SlurmRefused, SlurmSilent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.head.conftest import FakeSlurm


def test_jobs_are_read_from_the_queue() -> None:
    told = (
        "17|PENDING|Resources|4||2026-11-23T05:00:00|N/A|beowulf:3:00ff\n"
        "18_4|RUNNING|None|2|node[1-2]|2026-11-23T04:00:00|2026-11-23T06:00:00|\n"
        "19|SOME_NEW_STATE|Why|1|node1|||a|b\n"
    )
    first, second, third = queue.parse(told)
    assert first == Queued(
        17, "PENDING", "Resources", "4", "", "2026-11-23T05:00:00", "N/A", "beowulf:3:00ff"
    )
    assert (first.is_pending, first.is_over) == (True, False)
    assert (second.number, second.nodes, second.is_over) == (18, "node[1-2]", False)
    assert (third.comment, third.is_over) == ("a|b", False)


@given(st.text())
def test_no_output_is_too_odd(told: str) -> None:
    assert all(one.number >= 0 for one in queue.parse(told))


def test_a_job_is_known_by_its_key_whatever_stands_behind_it() -> None:
    for comment in ("beowulf:7:ab", "beowulf:7:ab:2", "beowulf:7:ab:2:4"):
        one = Queued(1, "PENDING", "", "", "", "", "", comment)
        assert one.is_of("7", "ab")
        assert one.is_of("7")
        assert not one.is_of("7", "a")
        assert not one.is_of("8", "ab")


def test_a_controller_that_does_not_answer(slurm: FakeSlurm) -> None:
    said = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
    slurm.answer("squeue", status=1, errors=said)
    with pytest.raises(SlurmSilent, match="Unable to contact slurm controller"):
        queue.ask()


def test_a_refusal_is_told_in_slurm_s_words(slurm: FakeSlurm, tmp_path: Path) -> None:
    slurm.answer("test", status=1, errors="allocation failure: Invalid account\n\n")
    with pytest.raises(SlurmRefused, match=r"^allocation failure: Invalid account$"):
        queue.test(tmp_path / "batch.sh")
    assert slurm.calls("sbatch") == [["--test-only", str(tmp_path / "batch.sh")]]


def test_a_head_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandFailed, match="squeue: not installed on this head"):
        queue.ask()


def test_cancelling_what_slurm_has_forgotten_is_no_fault(slurm: FakeSlurm) -> None:
    slurm.answer("scancel", status=1, errors="scancel: error: Invalid job id 17\n")
    queue.cancel([17])
    slurm.answer("scancel", status=1, errors="scancel: error: Access/permission denied\n")
    with pytest.raises(SlurmRefused, match="denied"):
        queue.cancel([17])


def test_only_nodes_that_could_run_a_job_are_counted(slurm: FakeSlurm) -> None:
    assert queue.nodes_up() == 2


def test_jobs_see_nothing_of_the_client_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("PATH", "/home/me/venv/bin:/usr/bin")
    monkeypatch.delenv("BEOWULF_HEAD_PATH", raising=False)
    assert set(queue.environment()) == {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG"}
    assert queue.environment()["PATH"] == "/usr/local/bin:/usr/bin:/bin"

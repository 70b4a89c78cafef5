"""A node is taken out of work when its jobs are done, and given back only if it was we who did."""

from __future__ import annotations

from typing import Any

import pytest
import slurm_duty

SHOWN = (
    "NodeName=node1 Arch=x86_64 CoresPerSocket=1 State={} ThreadsPerCore=1 Partitions=all "
    "BootTime=2026-11-22T23:52:11 LastBusyTime=2026-11-23T00:20:00 {}"
)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (SHOWN.format("IDLE", ""), ("IDLE", "")),
        (
            SHOWN.format(
                "IDLE+DRAIN", "Reason=beowulf maintenance: reboot [root@2026-11-23T00:21:10]"
            ),
            ("IDLE+DRAIN", "beowulf maintenance: reboot"),
        ),
        (
            SHOWN.format("DOWN*+DRAIN", "Reason=a b : Not responding [slurm@2026-11-23T00:21:10]"),
            ("DOWN+NOT_RESPONDING+DRAIN", "a b : Not responding"),
        ),
    ],
)
def test_state_and_reason_are_read(shown: str, expected: tuple[str, str]) -> None:
    assert slurm_duty.parsed(shown) == expected


@pytest.mark.parametrize("state", ["DOWN", "IDLE+NOT_RESPONDING", "UNKNOWN"])
def test_where_nothing_can_run_nothing_is_waited_for(state: str) -> None:
    assert slurm_duty.is_gone(state)
    assert not slurm_duty.is_gone("MIXED+DRAIN")


def test_the_health_check_does_not_take_our_reason_for_its_own() -> None:
    words: dict[str, Any] = {"reason": "reboot"}
    reason = slurm_duty.reason_for(words)
    assert reason.startswith(slurm_duty.OURS)
    assert not reason.startswith("beowulf: ")


def test_of_many_jobs_the_first_are_named() -> None:
    jobs = [(str(number), "ada") for number in range(1, 8)]
    assert slurm_duty.shown(jobs[:2]) == "job 1 of ada, job 2 of ada"
    assert slurm_duty.shown(jobs).endswith("job 5 of ada, 2 more")


class Failed(Exception):
    """What fail_json ends with here."""


class Slurm:
    """A queue that answers as it is told, and writes down what was asked of it."""

    def __init__(self, jobs: list[str], **params: Any) -> None:
        self.jobs = jobs  # how many there are at each look
        self.params = {"reason": "reboot", "wait_s": 1, "interactive": False, **params}
        self.reason = "beowulf maintenance: reboot"
        self.told: list[str] = []

    def run_command(self, words: list[str]) -> tuple[int, str, str]:
        self.told.append(" ".join(words[:4]))
        if words[0] == "squeue":
            return 0, self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0], ""
        return 0, SHOWN.format("MIXED+DRAIN", f"Reason={self.reason} [root@now]"), ""

    def fail_json(self, msg: str) -> None:
        raise Failed(msg)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_duty, "LOOK_S", 0.01)
    monkeypatch.setattr("shutil.which", lambda name: name)


def test_jobs_are_waited_for() -> None:
    slurm = Slurm(["7|ada|1|\n", "7|ada|1|\n", ""])
    slurm_duty.wait_for_jobs(slurm, "node1")
    assert sum(words.startswith("squeue") for words in slurm.told) == 3
    assert not any("update" in words for words in slurm.told)


def test_a_job_that_takes_too_long_is_named_and_the_node_works_on() -> None:
    slurm = Slurm(["7|ada|1|\n"], wait_s=0.05)
    with pytest.raises(Failed, match=r"node1: after 0\.05 s there still run job 7 of ada\."):
        slurm_duty.wait_for_jobs(slurm, "node1")
    assert slurm.told[-1] == "scontrol update nodename=node1 state=resume"


def test_a_node_that_somebody_else_drained_is_not_given_back() -> None:
    slurm = Slurm(["7|ada|1|\n"], wait_s=0.05)
    slurm.reason = "fan is loud"
    with pytest.raises(Failed):
        slurm_duty.wait_for_jobs(slurm, "node1")
    assert not any("update" in words for words in slurm.told)


def test_the_head_waits_for_interactive_jobs_everywhere() -> None:
    slurm = Slurm(["", "7|ada|1|\n8|ben|0|\n"], interactive=True)
    assert slurm_duty.running(slurm, "head") == [("8", "ben")]

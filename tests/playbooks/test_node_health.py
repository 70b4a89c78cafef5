"""The program that tells Slurm whether a machine is fit to compute."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import machine_checks
import node_health as health
import pytest

if TYPE_CHECKING:
    from pathlib import Path

TRACKING = "0A4D000A,10.77.0.10,11,1795391431.29,{},0.0027,0.0027,0.0,26.5,1.0,0.0003,1.6,16.1,{}\n"


def queue(state: str, reason: str = "") -> Any:
    return health.Queue(state, reason)


@pytest.mark.parametrize(
    ("output", "state", "reason", "registered"),
    [
        ("idle|idle|none|\n", "idle", "", True),
        (
            "drained|idle+drain|beowulf: a|b|\ndrained|idle+drain|twice|\n",
            "drained",
            "beowulf: a|b",
            True,
        ),
        ("down*|down+not_responding|Not responding|\n", "down*", "Not responding", False),
        ("unknown|unknown|none|\n", "unknown", "", False),
        # As just after slurmctld was started: asked to let it work again, Slurm would refuse.
        ("drained|unknown+drain|new fan|\n", "drained", "new fan", False),
        ("drained*|idle+drain+not_responding|new fan|\n", "drained*", "new fan", False),
        ("inval|idle+drain+invalid_reg|Low RealMemory|\n", "inval", "Low RealMemory", False),
        ("", "", "", False),
    ],
)
def test_slurms_answer_is_read(output: str, state: str, reason: str, registered: bool) -> None:
    told = health.parsed_queue(output)
    assert (told.state, told.reason, told.is_registered) == (state, reason, registered)


FULL = "beowulf: the disk is full"


@pytest.mark.parametrize(
    ("faults", "state", "reason", "settle", "update"),
    [
        ([], "idle", "", False, {}),
        (["the disk is full"], "idle", "", False, {"state": "drain", "reason": FULL}),
        (["the disk is full"], "allocated", "", False, {"state": "drain", "reason": FULL}),
        (["the disk is full"], "drained", FULL, False, {}),
        (["a", "b"], "drained", FULL, False, {"state": "drain", "reason": "beowulf: a; b"}),
        # Mended: it takes itself back, but never from somebody else.
        ([], "drained", FULL, False, {"state": "resume"}),
        ([], "draining", FULL, False, {"state": "resume"}),
        ([], "drained", "new fan", False, {}),
        (["the disk is full"], "drained", "new fan", False, {}),
        # What Slurm itself took out, for a description that was corrected just now.
        ([], "drained", "Low RealMemory (reported:1 < 100.00% of configured:2)", False, {}),
        (
            [],
            "drained",
            "Low RealMemory (reported:1 < 100.00% of configured:2)",
            True,
            {"state": "resume"},
        ),
    ],
)
def test_what_slurm_is_told(
    faults: list[str], state: str, reason: str, settle: bool, update: dict[str, str]
) -> None:
    assert health.wanted_update(faults, queue(state, reason), settle=settle) == update


@pytest.mark.parametrize("reason", ["Kill task failed", "Duplicate jobid"])
def test_a_machine_on_which_a_job_had_not_ended_works_again_once_it_has(reason: str) -> None:
    drained = queue("drained", reason)
    assert health.wanted_update([], drained, has_jobs=True) == {}
    assert health.wanted_update([], drained) == {"state": "resume"}
    assert health.wanted_update(["the disk is full"], drained) == {}


def test_what_is_left_of_a_job_is_seen(tmp_path: Path) -> None:
    scope = tmp_path / "system.slice" / "node1_slurmstepd.scope"
    (scope / "system").mkdir(parents=True)
    assert not health.has_jobs(tmp_path)
    (scope / "job_7").mkdir()
    assert health.has_jobs(tmp_path)


def write_settings(path: Path) -> None:
    path.write_text(
        json.dumps(
            {
                "node": "node1",
                "head": "head",
                "head_address": "127.0.0.1",
                "is_head": True,
                "mounts": [],
                "memory_mb": 1,
                "disks_free_mb": {"/": 0},
                "clock_s": 1,
            }
        )
    )


@pytest.fixture
def answers() -> dict[str, tuple[bool, str]]:
    """What the commands of a machine say, on which munged does not work."""
    return {
        "chronyc": (True, TRACKING.format(0.0, "Normal")),
        "munge": (False, "munge: Error: Failed to access socket"),
        "sinfo": (True, "idle|idle|none|\n"),
        "scontrol": (True, ""),
        "systemctl": (True, ""),
    }


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: dict[str, tuple[bool, str]]
) -> list[tuple[str, ...]]:
    """Which commands that machine was given."""
    commands: list[tuple[str, ...]] = []

    def run(*command: str, text: str = "") -> tuple[bool, str]:
        commands.append(command)
        return answers[command[0]]

    write_settings(tmp_path / "settings.json")
    monkeypatch.setattr(health, "SETTINGS", tmp_path / "settings.json")
    monkeypatch.setattr(health, "run", run)
    monkeypatch.setattr(machine_checks, "run", run)
    monkeypatch.setattr(machine_checks, "silent_paths", lambda _paths: [])
    return commands


def test_only_looking_changes_nothing(
    asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert health.main(["--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["faults"] == ["munged does not work"]
    assert (told["schema"], told["healthy"], told["changed"]) == (1, False, False)
    assert told["checks"]["clock"]["fault"] is None
    assert [command for command in asked if command[0] == "scontrol"] == []


def test_a_sick_machine_drains_itself(
    asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert health.main([]) == 0
    assert (
        "scontrol",
        "update",
        "nodename=node1",
        "state=drain",
        "reason=beowulf: munged does not work",
    ) in asked
    assert "munged does not work" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "registers"),
    [
        ((True, "down*|down+not_responding|Not responding|\n"), True),
        ((True, "drained*|idle+drain+not_responding|beowulf: the clock is off|\n"), True),
        ((True, "draining*|mixed+drain+not_responding|new fan|\n"), True),
        ((True, "idle*|idle+not_responding|none|\n"), False),  # Slurm will ask by itself
        ((True, "down|down|broken|\n"), False),  # somebody said so
        ((True, "drained|idle+drain|new fan|\n"), False),
        ((True, "idle|idle|none|\n"), False),
        ((False, "slurm_load_node error: Protocol authentication error\n"), False),
    ],
)
def test_a_machine_that_was_given_up_registers_again_once_it_is_believed(
    told: tuple[bool, str],
    registers: bool,
    asked: list[tuple[str, ...]],
    answers: dict[str, tuple[bool, str]],
) -> None:
    answers["sinfo"] = told
    assert health.main(["--rejoin"]) == 0
    reload = ("systemctl", "try-reload-or-restart", "slurmd.service")
    assert asked[1:] == ([reload] if registers else [])


def test_it_is_said_if_slurmd_cannot_register(
    asked: list[tuple[str, ...]],
    answers: dict[str, tuple[bool, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers["sinfo"] = (True, "down*|down+not_responding|Not responding|\n")
    answers["systemctl"] = (False, "Job failed.\n")
    assert health.main(["--rejoin"]) == 0
    assert capsys.readouterr().err == (
        "beowulf: Slurm calls this machine down*; slurmd can't be reloaded: Job failed.\n"
    )

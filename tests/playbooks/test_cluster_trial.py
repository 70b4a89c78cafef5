"""What is tried on a cluster ends in time, and leaves nothing behind."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cluster_trial
import pytest

from tests.playbooks.conftest import Play

ME = pwd.getpwuid(os.getuid()).pw_name
SINFO = "node1|idle|2|1500|none\nnode2|mixed|2|1500|none\nnode3|down*|2|1500|not|answering\n"


class Slurm:
    """A queue whose jobs end as the test says: in which states squeue shows each, one by one."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.states: dict[str, list[str]] = {}
        self.writes = True
        self.refuses = ""
        self.ranks: list[list[Any]] = []
        self.names: dict[str, str] = {}
        self.called_off: list[str] = []
        self.calls: list[tuple[str, ...]] = []

    def command(self, *words: str, text: str = "", timeout_s: float = 30.0) -> tuple[bool, str]:
        assert timeout_s > 0
        self.calls.append(words)
        if "sbatch" in words:
            assert text.startswith("#!/bin/sh\n")
            return self.take(words)
        if words[0] == "sinfo":
            return True, SINFO.strip()
        if words[0] == "scancel":
            self.called_off += [self.names[number] for number in words[1:]]
            return True, ""
        assert words[0] == "squeue"
        numbers = words[words.index("--jobs") + 1].split(",")
        return True, "\n".join(f"{number}|{self.next_state(number)}" for number in numbers)

    def take(self, words: tuple[str, ...]) -> tuple[bool, str]:
        if self.refuses:
            return False, f"sbatch: error\n{self.refuses}"
        name = next(w for w in words if w.startswith("--job-name=")).removeprefix(
            "--job-name=verify-"
        )
        number = str(100 + len(self.names))
        self.names[number] = name
        if self.writes and name == "mpi":
            (self.place / "jobs" / "sum.json").write_text(json.dumps(self.ranks))
        elif self.writes:
            (self.place / "jobs" / name).write_text(f"{name}\n")
        (self.place / "jobs" / f"{name}.log").write_text("slow\nlast words\n\n")
        return True, f"{number};beowulf"

    def next_state(self, number: str) -> str:
        states = self.states.setdefault(self.names[number], ["PENDING", "COMPLETED"])
        return states.pop(0) if len(states) > 1 else states[0]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    place = tmp_path / ".verify-x"
    place.mkdir()
    found = Slurm(place)
    found.ranks = [["node1", True], ["node2", True]]
    seconds = itertools.count()
    monkeypatch.setattr(cluster_trial, "command", found.command)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    return found


@pytest.fixture
def run(play: Play, slurm: Slurm) -> Callable[[], dict[str, Any]]:
    def tried() -> dict[str, Any]:
        result = play(
            cluster_trial, stage="run", opened={"place": str(slurm.place)}, account=ME,
            nodes=["node1", "node2", "node3", "node4"], wait_s=5, run_s=10,
        )  # fmt: skip
        assert not slurm.place.exists()
        found: dict[str, Any] = result["tried"]
        return found

    return tried


Run = Callable[[], dict[str, Any]]


def test_a_job_runs_on_each_node_that_is_up_then_one_on_all(run: Run, slurm: Slurm) -> None:
    tried = run()
    assert tried["jobs"] == {"node1": "ok", "node2": "ok"}
    assert (tried["mpi"], tried["mpi_nodes"]) == ("ok", ["node1", "node2"])
    assert list(slurm.names.values()) == ["node1", "node2", "mpi"]
    submissions = [words for words in slurm.calls if "sbatch" in words]
    assert all(words[:4] == ("runuser", "-u", ME, "--") for words in submissions)
    assert all(words[4:6] == ("env", "-i") for words in submissions)
    assert not any(word.startswith("--export") for words in submissions for word in words)
    assert slurm.called_off == []


def test_a_node_that_is_taken_is_busy_and_its_job_called_off(run: Run, slurm: Slurm) -> None:
    slurm.states["node2"] = ["PENDING"]
    slurm.ranks = [["node1", True]]
    tried = run()
    assert tried["jobs"] == {"node1": "ok", "node2": "busy"}
    assert tried["mpi_nodes"] == ["node1"]
    assert slurm.called_off == ["node2"]


def test_a_job_that_does_not_end_is_called_off_with_its_last_words(run: Run, slurm: Slurm) -> None:
    slurm.states["node1"] = ["PENDING", "RUNNING"]
    slurm.ranks = [["node2", True]]
    assert run()["jobs"]["node1"] == "the job did not end within 10 s: last words"
    assert slurm.called_off == ["node1"]


@pytest.mark.parametrize("state", ["FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"])
def test_a_job_that_failed_says_its_last_words(state: str, run: Run, slurm: Slurm) -> None:
    slurm.states["mpi"] = ["RUNNING", state]
    assert run()["mpi"] == f"the job ended as {state}: last words"


def test_a_job_that_wrote_nothing_is_not_believed(run: Run, slurm: Slurm) -> None:
    slurm.writes = False
    tried = run()
    assert tried["jobs"]["node1"] == "the job ended as COMPLETED: last words"
    assert tried["mpi"] is None


def test_a_wrong_sum_and_a_missing_rank_are_told_apart(run: Run, slurm: Slurm) -> None:
    slurm.ranks = [["node1", True], ["node2", False]]
    assert run()["mpi"] == "the sum is wrong on node2"
    slurm.place.mkdir()
    slurm.ranks = [["node1", True], ["node1", True]]
    assert run()["mpi"] == "the job ended as COMPLETED: last words"


def test_what_slurm_refuses_is_said(run: Run, slurm: Slurm) -> None:
    slurm.refuses = "Invalid account"
    tried = run()
    assert tried["jobs"]["node2"] == "sbatch refused a job: Invalid account"
    assert tried["mpi"] is None


def test_without_a_controller_no_job_is_tried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_trial, "command", lambda *_, **__: (False, "x\nConnection refused"))
    assert run() == {"fault": "Slurm's controller does not answer: Connection refused"}


def test_nodes_are_read_with_whatever_the_reason_holds() -> None:
    nodes = cluster_trial.parse_nodes(SINFO + "n5|drained$|8|500+|a|b\n")
    assert nodes["node3"] == {
        "state": "down*", "cpus": 2, "memory_mb": 1500, "reason": "not|answering"
    }  # fmt: skip
    assert (nodes["n5"]["state"], nodes["n5"]["memory_mb"], nodes["n5"]["reason"]) == (
        "drained", 500, "a|b"
    )  # fmt: skip


# --- What the head writes and the others find ----------------------------------------


def test_what_the_head_writes_is_found(tmp_path: Path) -> None:
    opened = cluster_trial.open_trial(str(tmp_path))
    assert cluster_trial.read_token(opened) is None
    (Path(opened["place"]) / "token").write_text("another")
    assert "is not what is read here" in (cluster_trial.read_token(opened) or "")
    (Path(opened["place"]) / "token").unlink()
    assert "can't be read: cat: " in (cluster_trial.read_token(opened) or "")


def test_what_a_cut_run_left_goes_after_an_hour_and_nothing_else(tmp_path: Path) -> None:
    for name, age_s in ((".verify-old", 7200), (".verify-new", 60), ("venv", 7200)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    opened = cluster_trial.open_trial(str(tmp_path))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".verify-new", "venv", Path(opened["place"]).name}


def test_without_the_shared_directory_it_says_so_by_an_empty_place(tmp_path: Path) -> None:
    assert cluster_trial.open_trial(str(tmp_path / "none"))["place"] == ""
    assert cluster_trial.look({"place": "", "credential": ""})["files"] is None


def test_check_mode_does_nothing(play: Play, tmp_path: Path) -> None:
    result = play(cluster_trial, check_mode=True, stage="open", shared=str(tmp_path))
    assert result == {"changed": False, "skipped": True}
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(20)
def test_a_program_that_hangs_or_lacks_is_said() -> None:
    assert cluster_trial.command("sleep", "60", timeout_s=0.2) == (
        False, "sleep did not end within 0.2 s"
    )  # fmt: skip
    assert cluster_trial.command("/nonexistent/x") == (
        False, "/nonexistent/x: No such file or directory"
    )  # fmt: skip
    assert cluster_trial.command("cat", text="a\nb\n") == (True, "a\nb")
    assert cluster_trial.command("sh", "-c", "echo no >&2; exit 3") == (False, "no")


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ('echo \'{"faults": [], "checks": {}}\'; exit 1', {"faults": [], "checks": {}}),
        ("echo broken >&2", {"faults": ["{path}: broken"], "checks": {}}),
        ("exit 0", {"faults": ["{path}: it said nothing"], "checks": {}}),
    ],
)
def test_what_the_health_program_says_is_taken(
    program: str, found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "health"
    monkeypatch.setattr(cluster_trial, "HEALTH", str(path))
    assert cluster_trial.ask_health() is None
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    expected = {**found, "faults": [text.format(path=path) for text in found["faults"]]}
    assert cluster_trial.ask_health() == expected

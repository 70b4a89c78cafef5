"""What the verbs say of jobs, for people and in JSON, from job directories made by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from beowulf.durable import append_json_line
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.heartbeat import Heartbeat
from beowulf.job.lock import take_lock
from tests.conftest import Beowulf
from tests.unit.cli.conftest import assert_refused


def make_job(state_home: Path, job_id: int, name: str = "digits") -> JobDirectory:
    directory = JobDirectory(state_home / "beowulf" / "jobs" / str(job_id))
    directory.path.mkdir(parents=True)
    directory.log.touch()
    record_event(directory, "submitted", name=name, ranks=4, attempt=1)
    return directory


def end(directory: JobDirectory, state: str, exit_code: int, reason: str = "") -> None:
    record_event(directory, "started", attempt=1, ranks=4, pid=1)
    record_event(directory, "ended", state=state, reason=reason, exit_code=exit_code)
    directory.exit_code.write_text(f"{exit_code}\n")


def train(directory: JobDirectory, loss: float) -> None:
    line = {"step": 7, "total_steps": 10, "loss": loss, "samples": 64, "step_s": 0.5}
    append_json_line(directory.metrics, line)


@pytest.fixture
def ended(state_home: Path) -> dict[str, JobDirectory]:
    """One job for each way to end."""
    ends: dict[str, tuple[int, str]] = {
        "COMPLETED": (0, ""),
        "FAILED": (3, "rank 1 on node1 failed: KeyError: '[/bold] [red]x'"),
        "CANCELLED": (143, "cancelled by its owner"),
        "TIMEOUT": (124, "ran longer than its time limit"),
    }
    jobs = {}
    for number, (state, (exit_code, reason)) in enumerate(ends.items(), start=1):
        jobs[state] = make_job(state_home, number)
        end(jobs[state], state, exit_code, reason)
    return jobs


def document(beowulf: Beowulf, *arguments: str) -> dict[str, Any]:
    answer = beowulf(*arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    found: dict[str, Any] = json.loads(answer.stdout, parse_constant=pytest.fail)
    assert found["schema"] == 1
    return found


# --- jobs ---------------------------------------------------------------------------------


def test_no_jobs_yet(beowulf: Beowulf, state_home: Path) -> None:
    answer = beowulf("jobs")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert answer.stderr == "no jobs yet; start one with: beowulf submit train.py\n"
    assert document(beowulf, "jobs") == {"schema": 1, "jobs": []}
    assert list(state_home.iterdir()) == []


def test_all_jobs_in_json(beowulf: Beowulf, ended: dict[str, JobDirectory]) -> None:
    jobs = document(beowulf, "jobs")["jobs"]
    assert [job["id"] for job in jobs] == ["1", "2", "3", "4"]
    assert [job["state"] for job in jobs] == list(ended)
    assert [job["exit_code"] for job in jobs] == [0, 3, 143, 124]
    assert {job["name"] for job in jobs} == {"digits"}
    assert [job["id"] for job in document(beowulf, "jobs", "--last", "2")["jobs"]] == ["3", "4"]


@pytest.mark.usefixtures("ended")
def test_all_jobs_in_a_table(beowulf: Beowulf) -> None:
    answer = beowulf("jobs")
    heading, *lines = answer.stdout.splitlines()
    assert heading.split() == [
        "ID", "NAME", "STATE", "RANKS", "STEP", "LOSS", "ELAPSED", "SUBMITTED", "REASON",
    ]  # fmt: skip
    assert [line.split()[:4] for line in lines] == [
        ["1", "digits", "COMPLETED", "4"], ["2", "digits", "FAILED", "4"],
        ["3", "digits", "CANCELLED", "4"], ["4", "digits", "TIMEOUT", "4"],
    ]  # fmt: skip
    assert "KeyError: '[/bold] [red]x'" in lines[1]
    assert "\x1b" not in answer.stdout


def test_a_table_shows_how_far_training_is(beowulf: Beowulf, state_home: Path) -> None:
    train(make_job(state_home, 1), 0.654321)
    train(make_job(state_home, 2), float("nan"))
    lines = beowulf("jobs").stdout.splitlines()
    assert lines[1].split()[4:6] == ["7/10", "0.6543"]
    assert lines[2].split()[4:6] == ["7/10", "nan"]
    assert [job["progress"]["loss"] for job in document(beowulf, "jobs")["jobs"]] == [
        0.654321,
        None,
    ]


def test_one_damaged_job_does_not_hide_the_others(beowulf: Beowulf, state_home: Path) -> None:
    for number, damage in enumerate(
        [b"", b"\xff\xfe", b'{"event": "ended", "time": 3}\n[', b"{}\n"]
    ):
        make_job(state_home, number + 1).events.write_bytes(damage)
    (state_home / "beowulf" / "jobs" / "5").mkdir()
    (state_home / "beowulf" / "jobs" / "6").touch()
    end(make_job(state_home, 7), "COMPLETED", 0)
    jobs = document(beowulf, "jobs")["jobs"]
    assert [job["state"] for job in jobs] == ["FAILED"] * (len(jobs) - 1) + ["COMPLETED"]
    assert beowulf("jobs").returncode == 0


# --- status -------------------------------------------------------------------------------


def test_status_of_a_failed_job_says_why(beowulf: Beowulf, ended: dict[str, JobDirectory]) -> None:
    ended["FAILED"].log.write_bytes(b"".join(b"line %d\n" % n for n in range(100)) + b"\xff last")
    answer = beowulf("status", "2")
    assert answer.returncode == 0
    said = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines()[:3])
    assert said["job"] == "2  digits"
    assert said["state"] == "FAILED"
    assert said["reason"] == "rank 1 on node1 failed: KeyError: '[/bold] [red]x'"
    assert "exit code  3" in answer.stdout
    assert answer.stdout.splitlines()[-2:] == ["  line 99", "  \ufffd last"]


def test_status_without_an_id_is_of_the_newest_job(
    beowulf: Beowulf, ended: dict[str, JobDirectory]
) -> None:
    assert document(beowulf, "status")["job"]["id"] == "4"
    assert document(beowulf, "status", "1")["job"]["directory"] == str(ended["COMPLETED"].path)


def test_status_of_a_job_that_completed(beowulf: Beowulf, state_home: Path) -> None:
    directory = make_job(state_home, 1)
    train(directory, 0.25)
    directory.result.write_text('{"test_accuracy": 0.97321, "steps": 10, "left_open": null}')
    (directory.path / "loss.png").touch()
    end(directory, "COMPLETED", 0)
    lines = beowulf("status").stdout.splitlines()
    assert "result     test_accuracy = 0.9732" in lines
    assert "result     steps = 10" in lines
    assert f"picture    {directory.path}/loss.png" in lines
    assert "progress   step 7/10  loss 0.25  128 samples/s" in lines


def test_a_directory_whose_name_is_no_text(beowulf: Beowulf, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"st\xffate")
    end(make_job(odd, 1), "FAILED", 1, "no \udcff text")
    for verb in ("status", "jobs", "logs"):
        answer = beowulf(verb, env={"XDG_STATE_HOME": str(odd)})
        assert answer.returncode == 0, answer.stderr
        assert "Traceback" not in answer.stderr
    assert "st\\udcffate" in beowulf("status", env={"XDG_STATE_HOME": str(odd)}).stdout


# --- logs ---------------------------------------------------------------------------------


def test_logs_are_passed_on_byte_for_byte(beowulf: Beowulf, state_home: Path) -> None:
    directory = make_job(state_home, 1)
    directory.log.write_bytes(b"one\ntwo \x1b[31m\nthree")
    assert beowulf("logs", "1").stdout == "one\ntwo \x1b[31m\nthree"
    assert beowulf("logs", "--tail", "2").stdout == "two \x1b[31m\nthree"
    assert beowulf("logs", "--tail", "0").stdout == ""
    assert beowulf("logs", "--tail", str(10**30)).stdout == "one\ntwo \x1b[31m\nthree"
    assert document(beowulf, "logs")["log"] == {
        "id": "1", "offset": 19, "lines": ["one", "two \x1b[31m", "three"],
    }  # fmt: skip


def test_following_a_job_that_is_over_ends(
    beowulf: Beowulf, ended: dict[str, JobDirectory], state_home: Path
) -> None:
    ended["FAILED"].log.write_bytes(b"all of it\n")
    assert beowulf("logs", "-f", "2").stdout == "all of it\n"
    answer = beowulf("logs", "-f", "2", "--json")
    assert_refused(answer, "--json prints one document and cannot follow", state=None)


# --- wait and cancel ----------------------------------------------------------------------


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize(
    ("ids", "status", "said"),
    [
        (["1"], 0, "1 COMPLETED\n"),
        (["2"], 3, "2 FAILED\n"),
        (["3"], 143, "3 CANCELLED\n"),
        (["4"], 124, "4 TIMEOUT\n"),
        (["1", "2", "4"], 3, "1 COMPLETED\n2 FAILED\n4 TIMEOUT\n"),
    ],
)
def test_waiting_returns_the_job_s_own_status(
    beowulf: Beowulf, ids: list[str], status: int, said: str
) -> None:
    answer = beowulf("wait", *ids)
    assert (answer.returncode, answer.stdout) == (status, said)
    assert beowulf("wait", "--json", *ids).returncode == status


def test_a_job_whose_supervisor_is_lost(beowulf: Beowulf, state_home: Path) -> None:
    make_job(state_home, 1)
    answer = beowulf("wait", "1")
    assert (answer.returncode, answer.stdout) == (125, "1 FAILED\n")


def test_waiting_for_a_job_that_runs_has_an_end(beowulf: Beowulf, state_home: Path) -> None:
    lock = take_lock(make_job(state_home, 1))
    assert lock is not None
    answer = beowulf("wait", "--timeout", "0.2", "1")
    os.close(lock)
    assert answer.returncode == 125
    assert answer.stderr == "beowulf: job 1 is still QUEUED; wait longer or cancel it\n"


def test_cancelling_a_job_that_is_over_changes_nothing(
    beowulf: Beowulf, ended: dict[str, JobDirectory]
) -> None:
    before = {path: path.read_bytes() for job in ended.values() for path in job.path.iterdir()}
    answer = beowulf("cancel", "1", "2")
    assert (answer.returncode, answer.stdout) == (0, "1 COMPLETED\n2 FAILED\n")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.usefixtures("ended")
def test_a_wrong_id_among_right_ones_cancels_nothing(beowulf: Beowulf, state_home: Path) -> None:
    running = make_job(state_home, 5)
    lock = take_lock(running)
    assert lock is not None
    answer = beowulf("cancel", "5", "9")
    os.close(lock)
    assert answer.returncode == 4
    assert not running.cancel_request.exists()


# --- beowulf itself ---------------------------------------------------------------------------


def test_help_lists_every_verb(beowulf: Beowulf, state_home: Path) -> None:
    answer = beowulf("--help")
    assert answer.returncode == 0
    for verb in ("submit", "jobs", "status", "logs", "cancel", "wait", "completion"):
        assert f"\n  {verb} " in answer.stdout
        shown = beowulf(verb, "-h")
        assert shown.returncode == 0
        assert shown.stdout.startswith(f"Usage: beowulf {verb} ")
    assert beowulf("--version").stdout == "beowulf, version 0.1.0\n"
    assert list(state_home.iterdir()) == []


def test_without_a_verb_help_is_shown_as_an_error(beowulf: Beowulf) -> None:
    answer = beowulf()
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("Usage: beowulf ")


# --- status: single ranks -------------------------------------------------------------------


def balance(
    directory: JobDirectory, shares: list[int], compute_s: list[float], **more: Any
) -> None:
    for rank, host in enumerate(["head", "node7"]):
        directory.heartbeats.mkdir(exist_ok=True)
        Heartbeat(rank, 1, host=host).write(directory)
    line = {"step": 7, "total_steps": 99, "loss": 1.0, "samples": sum(shares), "step_s": 1.1}
    for _ in range(20):
        append_json_line(
            directory.metrics, line | {"shares": shares, "compute_s": compute_s} | more
        )


def test_status_shows_where_each_rank_is_how_fast_and_with_which_share(
    beowulf: Beowulf, ended: dict[str, JobDirectory]
) -> None:
    balance(ended["COMPLETED"], [90, 10], [0.1, 0.1], wire_s=0.001)
    answer = beowulf("status", "1")
    assert "rank 0     head      900 samples/s  90 of 100 samples (90 %)\n" in answer.stdout
    assert "rank 1     node7     100 samples/s  10 of 100 samples (10 %)\n" in answer.stdout
    assert "unplugging" not in answer.stdout
    told = document(beowulf, "status", "1")
    assert told["burden"] is None
    assert told["job"]["paces"]["ranks"][1] == {
        "rank": 1, "host": "node7", "share": 10, "compute_s": 0.1,
        "samples_per_s": pytest.approx(100),
    }  # fmt: skip


def test_status_names_the_machine_that_costs_more_than_it_gives(
    beowulf: Beowulf, ended: dict[str, JobDirectory]
) -> None:
    balance(ended["COMPLETED"], [90, 10], [0.1, 0.1], step_s=0.125, wire_s=0.025)
    advice = "advice     unplugging node7 would make this 12 % faster\n"
    assert advice in beowulf("status", "1").stdout
    assert document(beowulf, "status", "1")["burden"] == {
        "host": "node7", "gain": pytest.approx(0.125),
    }  # fmt: skip


def test_status_gives_no_advice_that_is_not_certain(
    beowulf: Beowulf, ended: dict[str, JobDirectory]
) -> None:
    balance(ended["COMPLETED"], [90, 10], [0.1, 0.1], step_s=0.125)  # the wire is not known
    assert "rank 1" in beowulf("status", "1").stdout
    assert "unplugging" not in beowulf("status", "1").stdout
    append_json_line(  # the shares have changed
        ended["COMPLETED"].metrics,
        {"step": 8, "samples": 100, "step_s": 0.125, "wire_s": 0.025, "shares": [80, 20],
         "compute_s": [0.1, 0.1]},
    )  # fmt: skip
    assert "unplugging" not in beowulf("status", "1").stdout


# --- What happened --------------------------------------------------------------------------


def test_status_tells_a_loss_in_local_time_and_json_in_utc(
    beowulf: Beowulf, state_home: Path
) -> None:
    job = make_job(state_home, 1)
    hosts = ["head", "node1"]
    record_event(job, "started", attempt=1, ranks=2, hosts=hosts, time="2026-11-24T13:00:00+00:00")
    at = {"time": "2026-11-24T13:02:11.250+00:00"}
    record_event(job, "lost", ranks=[1], hosts=["node1"], step=412, attempt=1, **at)
    end(job, "COMPLETED", 0)
    answer = beowulf("status", "1", env={"TZ": "Europe/Berlin"})
    assert "story      Nov 24 14:02:11 node1 stopped answering (rank 1)\n" in answer.stdout
    told = document(beowulf, "status", "1")["job"]["story"]
    assert {"said": "node1 stopped answering (rank 1)", "usual": False,
            "time": "2026-11-24T13:02:11.250+00:00"} in told  # fmt: skip


def test_a_job_to_which_nothing_happened_has_no_story_to_read(
    beowulf: Beowulf, ended: dict[str, JobDirectory]
) -> None:
    assert "story" not in beowulf("status", "1").stdout
    assert len(document(beowulf, "status", "1")["job"]["story"]) == 3


def test_a_long_story_is_shortened_and_says_so(beowulf: Beowulf, state_home: Path) -> None:
    job = make_job(state_home, 1)
    for step in range(30):
        record_event(job, "lost", ranks=[1], hosts=["node1"], step=step, attempt=1)
    answer = beowulf("status", "1")
    lines = [line for line in answer.stdout.splitlines() if line.startswith("story")]
    assert len(lines) == 11
    assert lines[0] == "story      21 before; all of it: beowulf status --json"

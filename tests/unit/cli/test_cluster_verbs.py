"""What nodes, history and check print, of a cluster whose head is this computer.

Slurm's commands are stand-ins that print what a real cluster printed.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from beowulf import __version__
from beowulf.cli.history import cells as history_cells
from beowulf.cli.nodes import cells, sentences
from beowulf.cli.table import Table
from beowulf.hardware.accounting import Usage
from beowulf.hardware.nodes import parse_reports
from tests.conftest import Beowulf
from tests.unit.cli.conftest import assert_refused
from tests.unit.hardware.recorded import ADA, AWAY, BUSY, DRAINING, FACTS, JOBS, NODES, TRIAL

VERBS = ("nodes", "history", "check")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with Slurm's commands, found before any other."""
    path = tmp_path / "programs"
    path.mkdir()
    says(path, "scontrol", f"{NODES}")
    says(path, "squeue", JOBS)
    says(path, "sinfo", "partition|all*|up|4\n")
    says(path, "sacct", ADA.partition("@@accounts\n")[2])
    says(path, "sacctmgr", "None\n")
    return path


def says(programs: Path, name: str, output: str, *, errors: str = "", status: int = 0) -> None:
    """Make a command that prints this."""
    (programs / f"{name}.out").write_text(output)
    (programs / f"{name}.err").write_text(errors)
    script = f'#!/bin/sh\ncat "$0.out"; cat "$0.err" >&2; exit {status}\n'
    (programs / name).write_text(script)
    (programs / name).chmod(0o755)


@pytest.fixture
def configured(tmp_path: Path, programs: Path) -> dict[str, str]:
    """The environment of somebody who has one cluster, whose head this computer is."""
    config = tmp_path / "config" / "beowulf" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('default = "lab"\n[clusters.lab]\nhost = "local"\n')
    return {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TZ": "UTC",
    }


@pytest.mark.parametrize("verb", VERBS)
def test_without_a_cluster_one_line_says_how_to_add_one(
    beowulf: Beowulf, tmp_path: Path, verb: str
) -> None:
    answer = beowulf(verb, env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert_refused(answer, "no cluster yet", "beowulf cluster add NAME USER@HOST", state=None)


@pytest.mark.parametrize("verb", VERBS)
def test_a_cluster_that_is_not_known_is_refused(
    beowulf: Beowulf, configured: dict[str, str], verb: str
) -> None:
    answer = beowulf(verb, "--cluster", "moon", env=configured)
    assert_refused(answer, "'moon'", "lab", status=4, state=None)
    assert_refused(beowulf(verb, "--cluster", "local", env=configured), "no cluster", state=None)


def test_nodes_are_a_table(beowulf: Beowulf, configured: dict[str, str]) -> None:
    answer = beowulf("nodes", env=configured)
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert " ".join(lines[0]) == "NODE STATE CORES MEMORY LOAD TRUST SINCE RUNS REASON"
    assert lines[2][:3] == ["node1", "busy", "1/1"]
    assert "digits (ada)" in answer.stdout.splitlines()[2]


def test_nodes_in_json_are_one_document(beowulf: Beowulf, configured: dict[str, str]) -> None:
    document = json.loads(beowulf("nodes", "--json", env=configured).stdout)
    assert (document["schema"], document["cluster"]) == (1, "lab")
    assert [node["name"] for node in document["nodes"]] == ["head", "node1", "node2", "node3"]
    assert document["nodes"][2]["jobs"][0]["name"] == "digits"


def test_below_the_table_stands_what_is_wrong_and_what_to_type(
    beowulf: Beowulf, configured: dict[str, str], programs: Path
) -> None:
    says(programs, "scontrol", DRAINING)
    answer = beowulf("nodes", env=configured)
    assert answer.returncode == 0
    assert "node3 has been draining since" in answer.stderr
    assert answer.stderr.endswith("what to do about it: beowulf check\n")


LATELY = datetime.now(UTC) - timedelta(minutes=10)


@pytest.fixture
def shaky(beowulf: Beowulf, configured: dict[str, str], programs: Path) -> dict[str, str]:
    """The environment of somebody whose node2 was lost three times, as Slurm's accounts tell."""
    moments = [(LATELY - timedelta(minutes=n)).strftime("%Y-%m-%dT%H:%M:%S") for n in (0, 10, 20)]
    events = "".join(f"node2|{moment}|{moment}|DOWN*|Not responding\n" for moment in moments)
    says(programs, "sacctmgr", events)
    return {**configured, "BEOWULF_HEAD_PATH": f"{programs}:/usr/bin:/bin"}


def test_a_node_that_loses_jobs_is_trusted_less_and_left_out(
    beowulf: Beowulf, shaky: dict[str, str]
) -> None:
    answer = beowulf("nodes", env=shaky)
    assert "65 %, lost 3 times in 24 hours" in answer.stdout.splitlines()[3]
    assert "100 %" in answer.stdout.splitlines()[4]
    until = (LATELY + timedelta(hours=1)).strftime("%H:%M")
    if until > LATELY.strftime("%H:%M"):  # else it is said that this is tomorrow
        assert answer.stderr.startswith(
            f"node2 is left out until {until}: it was lost 3 times in 24 hours; "
            "beowulf nodes --trust node2 lifts it\n"
        )
    trust = json.loads(beowulf("nodes", "--json", env=shaky).stdout)["nodes"][2]["trust"]
    assert (trust["per_cent"], trust["losses"]) == (65, 3)


def test_a_node_is_trusted_again_when_a_person_says_so(
    beowulf: Beowulf, shaky: dict[str, str]
) -> None:
    answer = beowulf("nodes", "--trust", "node2", env=shaky)
    assert answer.returncode == 0
    assert "left out" not in answer.stderr
    assert "65 %" not in beowulf("nodes", env=shaky).stdout
    refused = beowulf("nodes", "--trust", "node9", env=shaky)
    assert_refused(refused, "--trust", "no node 'node9'", "head, node1", state=None)


def test_nodes_are_listed_where_only_the_trust_in_them_is_not_known(
    beowulf: Beowulf, configured: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "no-directory").touch()
    env = {**configured, "HOME": str(tmp_path / "no-directory")}
    answer = beowulf("nodes", env=env)
    assert answer.returncode == 0
    assert "how far they can be trusted is not known: " in answer.stderr
    assert "node1" in answer.stdout
    assert json.loads(beowulf("nodes", "--json", env=env).stdout)["nodes"][0]["trust"] is None
    assert beowulf("nodes", "--trust", "node1", env=env).returncode == 1


def test_many_nodes_that_are_away_are_not_all_named() -> None:
    line = "NodeName=n{} State=DOWN+NOT_RESPONDING CPUTot=1\n"
    reports = parse_reports("".join(line.format(number) for number in range(100)))
    assert sentences(reports)[-2:] == ["and 95 more", "what to do about it: beowulf check"]


def test_a_controller_that_is_away_is_one_line(
    beowulf: Beowulf, configured: dict[str, str], programs: Path
) -> None:
    says(programs, "scontrol", "", errors=AWAY, status=1)
    assert_refused(
        beowulf("nodes", env=configured), "systemctl status slurmctld", status=1, state=None
    )


def test_history_sums_up_and_says_that_others_are_not_shown(
    beowulf: Beowulf, configured: dict[str, str]
) -> None:
    answer = beowulf("history", "--since", "520w", env=configured)
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert lines[0] == ["USER", "CORE-HOURS", "JOBS", "FAILED", "RUNNING"]
    assert lines[1] == ["ada", "0.11", "8", "1", "0"]
    assert os.geteuid() == 0 or "only your own jobs" in answer.stderr
    document = json.loads(beowulf("history", "--since", "520w", "--json", env=configured).stdout)
    assert document["users"][0]["core_hours"] == pytest.approx(0.107, abs=0.001)


def test_a_span_that_makes_no_sense_is_refused(
    beowulf: Beowulf, configured: dict[str, str]
) -> None:
    answer = beowulf("history", "--since", "yesterday", env=configured)
    assert_refused(answer, "--since", "yesterday", "7d", state=None)


def test_bars_are_as_long_as_what_was_used() -> None:
    used = {"jobs": 1, "failures": 0, "running": 0}
    assert history_cells(Usage("ada", 2.0, **used), 4.0, 10)["SHARE"] == "█" * 5
    assert history_cells(Usage("ben", 0.0, **used), 0.0, 10)["SHARE"] == ""
    assert "SHARE" not in history_cells(Usage("ben", 4.0, **used), 4.0, 0)


def test_check_says_each_thing_in_a_line_and_ends_with_1(
    beowulf: Beowulf, configured: dict[str, str], programs: Path
) -> None:
    says(programs, "scontrol", DRAINING)
    answer = beowulf("check", env=configured)
    assert answer.returncode == 1
    lines = answer.stdout.splitlines()
    assert all(line.startswith(("✓ ", "✗ ", "- ")) for line in lines)
    assert any(line.startswith("✗ node3 has been draining") and "; " in line for line in lines)
    assert "✓ Slurm answers" in lines
    assert "to mend" in answer.stderr


def test_check_in_json_is_one_document(beowulf: Beowulf, configured: dict[str, str]) -> None:
    answer = beowulf("check", "--json", env=configured)
    document = json.loads(answer.stdout)
    found = {finding["subject"]: finding["is_good"] for finding in document["findings"]}
    assert found["login"] is True
    assert found["version"] is False  # this computer has no /opt/beowulf, or another one
    assert document["ok"] is False
    assert answer.returncode == 1


def test_check_leaves_nothing_in_the_home(
    beowulf: Beowulf, configured: dict[str, str], tmp_path: Path
) -> None:
    beowulf("check", env=configured)
    assert list((tmp_path / "home").glob(".beowulf-check*")) == []


def test_a_head_that_cannot_be_reached_ends_check_with_3(
    beowulf: Beowulf, configured: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "config" / "beowulf" / "config.toml"
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFeAoiggZ+s20hb/mt7GkxDNV54ngWrHveHxuXMFgmoV"
    config.write_text(
        f'[clusters.lab]\nhost = "127.0.0.1"\nport = 1\nuser = "ada"\nhost_key = "{key}"\n'
    )
    answer = beowulf("check", "--cluster", "lab", env=configured)
    assert answer.returncode == 3
    assert answer.stdout.startswith("✗ ")
    assert answer.stdout.count("\n") == 1


def test_a_head_that_is_well_has_nothing_to_mend(
    beowulf: Beowulf, configured: dict[str, str], programs: Path
) -> None:
    told = FACTS.partition("\n")[2].replace("beowulf|0.1.0", f"beowulf|{__version__}")
    says(programs, "sh", told)
    script = (programs / "sh").read_text()  # the head's shell, whose clock is right
    (programs / "sh").write_text(script.replace("\n", '\necho "clock|$(date +%s)"\n', 1))
    answer = beowulf("check", env=configured)
    assert (answer.returncode, answer.stdout.count("✗")) == (0, 0), answer.stdout
    assert answer.stderr == "all is well; to try every node with a job: --deep\n"


def test_a_narrow_terminal_loses_columns_but_never_what_a_node_is() -> None:
    row = cells(parse_reports(BUSY)[1])
    widths = {name: len(text) for name, text in row.items()} | {"REASON": 60}
    table = Table(frozenset(), "REASON", ("LOAD", "MEMORY", "SINCE"))
    assert set(table.fit(widths, 500)) == set(row)
    narrow = table.fit(widths, 50)
    assert {"NODE", "STATE", "CORES", "RUNS", "REASON"} <= set(narrow)
    assert "LOAD" not in narrow
    assert table.fit(widths, 1)["REASON"] <= 12


def test_deep_runs_a_job_on_the_free_nodes(
    beowulf: Beowulf, configured: dict[str, str], programs: Path, tmp_path: Path
) -> None:
    says(programs, "srun", TRIAL)
    asked = tmp_path / "asked"
    script = (programs / "srun").read_text()
    (programs / "srun").write_text(script.replace("\n", f'\necho "$*" > {asked}\n', 1))
    answer = beowulf("check", "--deep", env=configured)
    assert "--nodelist=head,node3 --nodes=2 " in asked.read_text()
    assert "✗ node3 does not see the files in your home" in answer.stdout  # an old word

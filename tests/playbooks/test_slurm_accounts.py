"""Who gets an account, and the key that machines share."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any

import munge_key
import pytest
import slurm_accounts

from tests.playbooks.conftest import Answer, Commands, Cut, Failed, Play

FOUND = "beowulf||\nbeowulf|root|\nbeowulf|root|root\nbeowulf|people|\nbeowulf|people|ada\n"


@pytest.mark.parametrize(
    ("found", "users", "added"),
    [
        (FOUND, ["ada"], []),
        (FOUND, [], []),
        (
            FOUND,
            ["ada", "ben", "eva"],
            [["add", "user", "ben,eva", "account=people", "cluster=beowulf"]],
        ),
        (
            "other|people|\nother|people|ada\n",
            ["ada"],
            [
                ["add", "cluster", "beowulf"],
                ["add", "account", "people", "cluster=beowulf", "description=people"],
                ["add", "user", "ada", "account=people", "cluster=beowulf"],
            ],
        ),
    ],
)
def test_only_what_lacks_is_added(found: str, users: list[str], added: list[list[str]]) -> None:
    assert slurm_accounts.needed(found, "beowulf", "people", users) == added


WORDS: dict[str, Any] = {"cluster": "beowulf", "account": "people", "users": ["ada", "ben"]}


class Accounting:
    """Slurm's accounting, as sacctmgr shows and changes it."""

    def __init__(self) -> None:
        self.rows = ["beowulf||", "beowulf|root|", "beowulf|root|root"]
        self.silent_for = 0

    def does(self, command: list[str]) -> Answer:
        if self.silent_for > 0:
            self.silent_for -= 1
            return 1, "", "sacctmgr: error: Sending PersistInit msg: Connection refused\n"
        match command[2:]:
            case ["--parsable2", "show", "associations", _]:
                return 0, "\n".join(self.rows) + "\n", ""
            case ["add", "account", account, cluster, _]:
                self.rows.append(f"{cluster.partition('=')[2]}|{account}|")
            case ["add", "user", names, account, cluster]:
                parts = (cluster.partition("=")[2], account.partition("=")[2])
                assert f"{parts[0]}|{parts[1]}|" in self.rows
                self.rows += ["|".join([*parts, name]) for name in names.split(",")]
        return 0, "", ""


@pytest.fixture
def accounting(play: Play, monkeypatch: pytest.MonkeyPatch) -> Accounting:
    found = Accounting()
    play.commands = Commands(found.does)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return found


def test_people_are_added_once(play: Play, accounting: Accounting) -> None:
    assert play(slurm_accounts, **WORDS)["changed"]
    assert {"beowulf|people|ada", "beowulf|people|ben"} <= set(accounting.rows)
    assert play(slurm_accounts, **WORDS) == {"changed": False, "added": []}


def test_check_mode_only_reads(play: Play, accounting: Accounting) -> None:
    before = list(accounting.rows)
    assert len(play(slurm_accounts, check_mode=True, **WORDS)["added"]) == 2
    assert accounting.rows == before


@pytest.mark.parametrize("number", range(3))
def test_adding_that_was_cut_is_made_whole_by_the_next(
    number: int, play: Play, accounting: Accounting
) -> None:
    play.commands.cut_at = number
    with pytest.raises(Cut):
        play(slurm_accounts, **WORDS)
    play.commands.cut_at = None
    assert play(slurm_accounts, **WORDS)["changed"]
    assert not play(slurm_accounts, **WORDS)["changed"]


def test_a_slurmdbd_that_was_just_started_is_waited_for(play: Play, accounting: Accounting) -> None:
    accounting.silent_for = 3
    assert play(slurm_accounts, **WORDS)["changed"]
    accounting.silent_for = 3
    with pytest.raises(Failed, match=r"slurmdbd does not answer: .*Connection refused\. Look"):
        play(slurm_accounts, **WORDS, timeout_s=-1)


def test_what_sacctmgr_refuses_is_said(play: Play, accounting: Accounting) -> None:
    def does(command: list[str]) -> Answer:
        return (1, " Nothing added\n", "") if "user" in command else accounting.does(command)

    play.commands.does = does
    with pytest.raises(Failed, match=r"sacctmgr add user ada,ben .*: Nothing added"):
        play(slurm_accounts, **WORDS)


def test_a_key_comes_back_from_its_base64() -> None:
    key = os.urandom(128)
    assert munge_key.decoded(base64.b64encode(key).decode()) == key


@pytest.mark.parametrize("text", ["no base64!", base64.b64encode(b"short").decode()])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="no munge key") as caught:
        munge_key.decoded(text)
    assert text not in str(caught.value)


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    assert munge_key.usable(munge_key.read(str(tmp_path / "missing"))) is None
    (tmp_path / "empty").write_bytes(b"")
    assert munge_key.usable(munge_key.read(str(tmp_path / "empty"))) is None


def test_a_key_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "munge" / "munge.key"
    munge_key.write(str(path), b"k" * 128, os.getuid(), os.getgid())
    assert path.read_bytes() == b"k" * 128
    assert path.stat().st_mode & 0o7777 == 0o400
    assert [entry.name for entry in path.parent.iterdir()] == ["munge.key"]
    assert not munge_key.settle(str(path), os.getuid(), os.getgid(), 0o400)
    path.chmod(0o644)
    assert munge_key.settle(str(path), os.getuid(), os.getgid(), 0o400)
    assert path.stat().st_mode & 0o7777 == 0o400


def test_each_writing_of_a_key_is_told_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "munge.key")
    told = [munge_key.written(path)]
    for _ in range(2):
        munge_key.write(path, b"k" * 128, os.getuid(), os.getgid())
        told.append(munge_key.written(path))
    assert told[0] == ""
    assert len(set(told)) == 3

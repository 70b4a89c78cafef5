"""Who gets an account, and the key that machines share."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import munge_key
import pytest
import slurm_accounts

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

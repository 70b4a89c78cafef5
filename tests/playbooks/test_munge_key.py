"""One key is made, and then every machine has it."""

from __future__ import annotations

import base64
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import munge_key
import pytest

from tests.playbooks.conftest import Cut, Failed, Play

ME = pwd.getpwuid(os.getuid()).pw_name
KEY = bytes(range(128))
TEXT = base64.b64encode(KEY).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "munge" / "munge.key"


def have(play: Play, path: Path, **words: Any) -> dict[str, Any]:
    return play(munge_key, path=str(path), **{"owner": ME, **words})


def put(path: Path, key: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(key)
    path.chmod(0o400)


def modes(path: Path) -> list[int]:
    return [stat.S_IMODE(place.stat().st_mode) for place in (path.parent, path)]


def test_a_key_is_made_once_and_told(play: Play, path: Path) -> None:
    made = have(play, path)
    assert made["changed"]
    key = base64.b64decode(made["key"])
    assert len(key) == munge_key.MADE_BYTES
    assert path.read_bytes() == key
    assert modes(path) == [0o700, 0o400]
    assert have(play, path) == {**made, "changed": False}


def test_two_keys_are_never_the_same(play: Play, tmp_path: Path) -> None:
    keys = {have(play, tmp_path / name / "munge.key")["key"] for name in "ab"}
    assert len(keys) == 2


def test_another_machines_key_takes_the_place_of_the_packages(play: Play, path: Path) -> None:
    put(path, b"o" * 128)
    told = have(play, path, content=TEXT)
    assert (told["changed"], path.read_bytes(), modes(path)) == (True, KEY, [0o700, 0o400])
    assert TEXT not in str(told)  # it knows it; what is told may be shown
    assert have(play, path, content=TEXT) == {**told, "changed": False}
    assert os.listdir(path.parent) == ["munge.key"]  # noqa: PTH208


@pytest.mark.parametrize("left", [b"", b"half", bytes(128)])
def test_what_a_power_cut_left_is_no_key_also_one_that_was_being_wiped(
    left: bytes, play: Play, path: Path
) -> None:
    put(path, left)
    assert have(play, path)["changed"]
    assert len(path.read_bytes()) == munge_key.MADE_BYTES


def test_a_key_that_others_can_read_is_closed_but_not_replaced(play: Play, path: Path) -> None:
    put(path, KEY)
    path.chmod(0o644)
    path.parent.chmod(0o755)
    before = munge_key.written(str(path))
    told = have(play, path, content=TEXT)
    assert told == {"changed": True, "written": before}
    assert modes(path) == [0o700, 0o400]


@pytest.mark.parametrize("content", ["not base64!", base64.b64encode(b"short").decode(), " "])
def test_what_is_no_key_changes_nothing_and_is_not_shown(
    content: str, play: Play, path: Path
) -> None:
    put(path, KEY)
    with pytest.raises(Failed, match="no munge key") as caught:
        have(play, path, content=content)
    assert content == " " or content not in str(caught.value)
    assert path.read_bytes() == KEY


@pytest.mark.parametrize(("content", "changed"), [(None, False), (TEXT, False), ("other", True)])
def test_check_mode_changes_nothing(
    content: str | None, changed: bool, play: Play, path: Path
) -> None:
    content = base64.b64encode(b"o" * 64).decode() if content == "other" else content
    bare = have(play, path, content=content, check_mode=True, owner="not-installed-yet")
    assert bare["changed"]
    assert bare.get("key", "") == ""
    assert not path.parent.exists()
    put(path, KEY)
    assert have(play, path, content=content, check_mode=True)["changed"] is changed
    assert path.read_bytes() == KEY


def test_a_link_in_its_place_does_not_carry_the_key_elsewhere(
    play: Play, path: Path, tmp_path: Path
) -> None:
    path.parent.mkdir()
    (tmp_path / "elsewhere").write_text("x")
    path.symlink_to(tmp_path / "elsewhere")
    have(play, path, content=TEXT)
    assert not path.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "x"


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_run_that_was_cut_leaves_the_old_key_whole(
    function: str, play: Play, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, b"o" * 128)

    def cut(*_: Any) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(os, function, cut)
        with pytest.raises(Cut):
            have(play, path, content=TEXT)
    assert path.read_bytes() == b"o" * 128
    assert os.listdir(path.parent) == ["munge.key"]  # noqa: PTH208
    assert have(play, path, content=TEXT)["changed"]
    assert path.read_bytes() == KEY

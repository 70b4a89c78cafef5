"""Several files have the contents they ought to have, or none was touched."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest
import settled_files

from tests.playbooks.conftest import Cut, Failed, Play

MARKER = "#\n# Ansible managed\n"
ME = pwd.getpwuid(os.getuid()).pw_name
MINE = grp.getgrgid(os.getgid()).gr_name


def file(path: Path | str, content: str | None = "new\n", **words: Any) -> dict[str, Any]:
    what = {} if content is None else {"content": content}
    owned = {"owner": ME, "group": MINE}
    return {"path": str(path), **owned, **what, **words}


def contents(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_text(errors="replace")
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_files_and_links_are_written_once(play: Play, tmp_path: Path) -> None:
    files = [
        file(tmp_path / "a", "Zoë\n", mode="0640"),
        file(tmp_path / "not yet" / "there" / "-b", ""),
        file(tmp_path / "link", None, link="a"),
    ]
    assert play(settled_files, files=files)["paths"] == [f["path"] for f in files]
    assert contents(tmp_path) == {"a": "Zoë\n", "link": "-> a", "not yet/there/-b": ""}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    again = play(settled_files, files=files)
    assert (again["changed"], again["paths"], again["diff"]) == (False, [], [])


def test_check_mode_says_what_it_would_do_and_changes_nothing(play: Play, tmp_path: Path) -> None:
    ours = tmp_path / "own.d"
    ours.mkdir()
    (ours / "old").write_text(MARKER)
    files = [
        file(tmp_path / "x" / "a"),
        file(tmp_path / "x" / "b", owner="nobody-yet"),
        file(tmp_path / "x" / "c", check="/nonexistent/program %s"),
    ]
    told = play(settled_files, check_mode=True, files=files, only=[str(ours), f"{tmp_path}/y.d"])
    assert told["changed"]
    assert len(told["paths"]) == 4
    assert contents(tmp_path) == {"own.d/old": MARKER}
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "y.d").exists()


@pytest.mark.parametrize("what", ["text", "mode", "line ends", "not UTF-8", "link", "dangling"])
def test_whatever_is_other_is_replaced(what: str, play: Play, tmp_path: Path) -> None:
    path = tmp_path / "a"
    (tmp_path / "target").write_text("somebody else's\n")
    if what == "text":
        path.write_text("old\n")
    elif what == "mode":
        path.write_text("new\n")
        path.chmod(0o666)
    elif what == "line ends":
        path.write_bytes(b"new\r\n")
    elif what == "not UTF-8":
        path.write_bytes(b"new\n\xff\xfe")
    else:
        path.symlink_to("target" if what == "link" else "nowhere")
    assert play(settled_files, files=[file(path)])["changed"]
    assert not path.is_symlink()
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new\n", 0o644)
    assert contents(tmp_path) == {"a": "new\n", "target": "somebody else's\n"}
    assert not play(settled_files, files=[file(path)])["changed"]


def test_what_is_wanted_with_other_line_ends_is_settled_as_well(play: Play, tmp_path: Path) -> None:
    files = [file(tmp_path / "a", "one\r\ntwo\r")]
    assert play(settled_files, files=files)["changed"]
    assert not play(settled_files, files=files)["changed"]


def test_a_file_becomes_a_link_and_a_link_another(play: Play, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").symlink_to("/dev/full")
    files = [file(tmp_path / name, None, link="/dev/null") for name in "ab"]
    assert len(play(settled_files, files=files)["paths"]) == 2
    assert contents(tmp_path) == {"a": "-> /dev/null", "b": "-> /dev/null"}
    assert not play(settled_files, files=files)["changed"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"owner": "nobody-yet"}, "there is no user nobody-yet"),
        ({"content": None, "link": "nowhere"}, "there is no .*/nowhere"),
        ({"check": "grep --quiet right %s"}, "grep refuses it"),
        ({"check": "cat %s /nonexistent"}, "cat refuses it: cat: /nonexistent"),
        ({"check": "/nonexistent/program %s"}, "there is no /nonexistent/program"),
    ],
)
def test_if_one_is_refused_none_is_written(
    words: dict[str, Any], reason: str, play: Play, tmp_path: Path
) -> None:
    ours = tmp_path / "own.d"
    ours.mkdir()
    (ours / "old").write_text(MARKER)
    bad = {**file(tmp_path / "bad", "wrong\n"), **words}
    bad = {name: value for name, value in bad.items() if value is not None}
    with pytest.raises(Failed, match=rf"bad: {reason}.*Nothing was changed"):
        play(settled_files, files=[file(tmp_path / "good"), bad], only=[str(ours)])
    assert contents(tmp_path) == {"own.d/old": MARKER}


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_not_replaced(kind: str, play: Play, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(Failed, match="neither a file nor a link"):
        play(settled_files, files=[file(tmp_path / "b"), file(path)])
    assert contents(tmp_path) == {}


def test_a_check_sees_the_new_contents_and_passes(play: Play, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("wrong\n")
    play(settled_files, files=[file(tmp_path / "a", "right\n", check="grep --quiet right %s")])
    assert contents(tmp_path) == {"a": "right\n"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [({"content": "x", "link": "y"}, "mutually exclusive"), ({}, "content, link")],
)
def test_a_file_is_either_contents_or_a_link(
    words: dict[str, str], reason: str, play: Play
) -> None:
    with pytest.raises(Failed, match=reason):
        play(settled_files, files=[{"path": "/nonexistent/a", **words}])


def test_what_is_optional_is_left_out_without_its_directory(play: Play, tmp_path: Path) -> None:
    files = [file(tmp_path / "package" / "a", optional=True)]
    assert not play(settled_files, files=files)["changed"]
    (tmp_path / "package").mkdir()
    assert play(settled_files, files=files)["changed"]
    assert contents(tmp_path) == {"package/a": "new\n"}


def test_of_our_own_directory_only_what_we_wrote_goes(play: Play, tmp_path: Path) -> None:
    ours = tmp_path / "own.d"
    ours.mkdir()
    (ours / "old").write_text(MARKER + "x")
    (ours / "admins").write_text("# mine\n" + MARKER)
    (ours / "binary").write_bytes(b"\xff\xfe")
    (ours / "link").symlink_to("old")
    (ours / "below").mkdir()
    (ours / "below" / "old").write_text(MARKER)
    os.mkfifo(ours / "fifo")
    files = [file(ours / "wanted", MARKER)]
    told = play(settled_files, files=files, only=[f"{ours}/", str(tmp_path / "new.d")])
    assert told["paths"] == [str(ours / "wanted"), str(ours / "old")]
    assert (tmp_path / "new.d").is_dir()
    left = {path.name for path in ours.iterdir()}
    assert left == {"admins", "binary", "link", "below", "fifo", "wanted"}
    assert (ours / "below" / "old").exists()
    assert not play(settled_files, files=files, only=[f"{ours}/"])["changed"]


@pytest.mark.parametrize("number", range(4))
def test_a_run_that_was_cut_is_made_whole_by_the_next(
    number: int, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "own.d"
    ours.mkdir()
    for name in ("a", "old"):
        (ours / name).write_text(MARKER + "old")
    (tmp_path / "b").symlink_to("/dev/full")
    files = [
        file(ours / "a", MARKER + "new"),
        file(tmp_path / "b", None, link="/dev/null"),
        file(tmp_path / "c" / "d"),
    ]
    moves = [0]
    with monkeypatch.context() as patched:
        for name in ("replace", "remove"):
            real = getattr(os, name)

            def cutting(*words: Any, real: Any = real) -> None:
                if moves[0] == number:
                    raise Cut
                moves[0] += 1
                real(*words)

            patched.setattr(os, name, cutting)
        with pytest.raises(Cut):
            play(settled_files, files=files, only=[str(ours)])
    assert play(settled_files, files=files, only=[str(ours)])["changed"]
    whole = {"b": "-> /dev/null", "c/d": "new\n", "own.d/a": MARKER + "new"}
    # A power cut can leave what no program reads, since its name begins with a dot.
    found = contents(tmp_path).items()
    assert {name: text for name, text in found if "/.new-" not in name} == whole
    assert not play(settled_files, files=files, only=[str(ours)])["changed"]


def test_the_difference_shows_texts_or_permissions(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old\n")
    shown = play(settled_files, check_mode=True, files=[file(path)])["diff"][0]
    assert (shown["before"], shown["after"]) == ("old\n", "new\n")
    path.write_text("new\n")
    path.chmod(0o600)
    shown = play(settled_files, check_mode=True, files=[file(path)])["diff"][0]
    assert "0o600" in shown["before"]
    assert "0o644" in shown["after"]

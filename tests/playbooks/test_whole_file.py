"""Whoever looks at a file finds the old one or the new one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible.module_utils.whole_file import write_whole


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_text_and_bytes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "-a name with blanks"
    for data in ("Zoë\r\n", b"\xff\0", ""):
        write_whole(path, data)
        assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert names(tmp_path) == [path.name]


def test_a_new_file_is_its_owners_alone_unless_it_is_said(tmp_path: Path) -> None:
    write_whole(tmp_path / "secret", "x")
    write_whole(tmp_path / "public", "x", mode=0o644)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o644


def test_mode_and_owner_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _, user, group: owners.append((user, group)))
    write_whole(path, "new")
    write_whole(path, "new", owner=(1, 2))
    assert owners == [(os.getuid(), path.stat().st_gid), (1, 2)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.root
def test_somebody_elses_file_stays_his(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    os.chown(path, 65534, 65533)
    path.chmod(0o4750)
    write_whole(path, "new")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65533, 0o4750)


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("of somebody else")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "dangling"):
        write_whole(tmp_path / name, "new")
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "target").read_text() == "of somebody else"
    assert names(tmp_path) == ["dangling", "link", "target"]


@pytest.mark.parametrize("function", ["fchmod", "fsync", "replace"])
def test_what_fails_or_is_cut_leaves_the_old_file_and_no_other(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    broken = pytest.MonkeyPatch()
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with broken.context() as patched:
            patched.setattr(os, function, lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(type(error)):
                write_whole(path, "new")
        assert path.read_text() == "old"
        assert names(tmp_path) == ["file"]
    write_whole(path, "new")
    assert path.read_text() == "new"


def test_the_new_file_is_on_the_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name in ("fchmod", "fsync", "replace"):
        real = getattr(os, name)

        def noting(*words: object, name: str = name, real: object = real) -> None:
            steps.append(name)
            real(*words)  # type: ignore[operator]

        monkeypatch.setattr(os, name, noting)
    write_whole(tmp_path / "file", "x", mode=0o600)
    assert steps == ["fchmod", "fsync", "replace", "fsync"]  # the last is the directory's


def test_a_path_without_directory_is_beside_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_whole("file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_it_says_where_a_directory_lacks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "file", "x")

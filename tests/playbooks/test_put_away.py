"""What a role wrote is put away, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import put_away
import pytest

if TYPE_CHECKING:
    from pathlib import Path

BEGIN, END = "# BEGIN beowulf", "# END beowulf"


def module(*, check_mode: bool = False, told: str = "") -> Any:
    return SimpleNamespace(check_mode=check_mode, run_command=lambda _: (0, told, ""))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"a\n{BEGIN}\nb\nc\n{END}\nd\n", "a\nd\n"),
        (f"a\n{BEGIN}\n{END}", "a\n"),
        (f"a\n{BEGIN}\nb\n", f"a\n{BEGIN}\nb\n"),  # no end: whose is the rest?
        (f"{BEGIN}\na\n{BEGIN}\nb\n{END}\nc\n", f"{BEGIN}\na\nc\n"),
        ("a\n", "a\n"),
    ],
)
def test_only_our_lines_go(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "fstab"
    path.write_text(before)
    path.chmod(0o640)
    would = put_away.without_block(module(check_mode=True), str(path), BEGIN, END)
    assert path.read_text() == before
    assert put_away.without_block(module(), str(path), BEGIN, END) == would == (before != after)
    assert path.read_text() == after
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert not put_away.without_block(module(), str(tmp_path / "none"), BEGIN, END)


def test_files_links_and_directories_are_found_once(tmp_path: Path) -> None:
    (tmp_path / "a.conf").touch()
    (tmp_path / "b.conf").symlink_to("nowhere")
    found = put_away.found([f"{tmp_path}/*.conf", f"{tmp_path}/a.conf", f"{tmp_path}/none"])
    assert found == [f"{tmp_path}/a.conf", f"{tmp_path}/b.conf"]


def test_a_secret_is_overwritten_before_it_goes(tmp_path: Path) -> None:
    path, other = tmp_path / "key", tmp_path / "other"
    path.write_bytes(b"secret")
    other.hardlink_to(path)  # another way to look at the same blocks
    put_away.wipe(str(path))
    assert not path.exists()
    assert other.read_bytes() == bytes(6)


def test_a_link_goes_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    put_away.remove(str(tmp_path / "link"))
    assert (tmp_path / "directory").is_dir()


def test_only_what_runs_is_stopped_and_only_what_is_enabled_disabled() -> None:
    told = (
        "Id=a.service\nUnitFileState=enabled\nActiveState=active\n\n"
        "Id=b.service\nUnitFileState=disabled\nActiveState=failed\n\n"
        "Id=c.service\nUnitFileState=\nActiveState=inactive\n"
    )
    units = ["a.service", "b.service", "c.service"]
    assert put_away.states(module(told=told), units) == {
        "disable": ["a.service"], "stop": ["a.service"],
    }  # fmt: skip

"""A machine mounts what it should, and the administrator's lines of fstab are left alone."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import Any

import nfs_mounts
import pytest

from tests.playbooks.conftest import Answer, Commands, Cut, Failed, Play

OWN = "# the administrator's\nUUID=1 / ext4 defaults 0 1\n"
TAIL = "UUID=2 none swap sw 0 0\n"
WORDS: dict[str, Any] = {
    "server": "10.77.0.1",
    "options": "vers=4.2,hard",
    "mount_options": "bg",
    "automount_options": "x-systemd.automount",
}
BLOCK = f"""{nfs_mounts.BEGIN}
10.77.0.1:/opt/beowulf /opt/beowulf nfs4 vers=4.2,hard,bg 0 0
10.77.0.1:/home/ada /home/ada nfs4 vers=4.2,hard,x-systemd.automount 0 0
{nfs_mounts.END}
"""


class Machine:
    """A file system table, and units that start and stop."""

    def __init__(self, directory: Path) -> None:
        self.fstab = directory / "fstab"
        self.fstab.write_text(OWN)
        self.skeleton = directory / "skel"
        self.skeleton.mkdir()
        self.active: set[str] = set()
        self.mounted: set[str] = set()
        self.busy: set[str] = set()
        self.answers = True

    def does(self, command: list[str]) -> Answer:
        match command:
            case ["systemctl", "is-active", *units]:
                states = ["active" if unit in self.active else "inactive" for unit in units]
                return 3, "".join(f"{state}\n" for state in states), ""
            case ["timeout", _, "systemctl", "start", *units]:
                if not self.answers:
                    return nfs_mounts.TIMED_OUT, "", ""
                self.active |= set(units)
                self.mounted |= {path for path in PATHS if PATHS[path] in units}
            case ["systemctl", "stop", *units]:
                self.active -= set(units)
                self.mounted -= {p for p in PATHS if PATHS[p] in units and p not in self.busy}
            case ["umount", "--lazy", path]:
                self.mounted.discard(path)
        return 0, "", ""


PATHS = {
    "/opt/beowulf": "opt-beowulf.mount",
    "/home/ada": "home-ada.automount",
    "/home/ben": "home-ben.automount",
}


@pytest.fixture
def machine(tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setattr(nfs_mounts, "FSTAB", found.fstab)
    monkeypatch.setattr(nfs_mounts, "SKELETON", found.skeleton)
    monkeypatch.setattr(nfs_mounts, "mount_points", lambda _: set(found.mounted))
    play.commands = Commands(found.does)
    return found


def settle(play: Play, *users: str, check_mode: bool = False, **words: Any) -> dict[str, Any]:
    homes = [f"/home/{user}" for user in users]
    words = {"mounts": ["/opt/beowulf"], **WORDS, **words}
    return play(nfs_mounts, check_mode=check_mode, automounts=homes, **words)


@pytest.mark.parametrize("before", ["", OWN, OWN.removesuffix("\n"), OWN + BLOCK + TAIL])
def test_the_block_is_written_and_other_lines_stay(
    before: str, play: Play, machine: Machine
) -> None:
    machine.fstab.write_text(before)
    machine.fstab.chmod(0o640)
    settle(play, "ada")
    expected = OWN + BLOCK if before else BLOCK
    assert machine.fstab.read_text() == expected + (TAIL if TAIL in before else "")
    assert stat.S_IMODE(machine.fstab.stat().st_mode) == 0o640
    assert machine.active == {"opt-beowulf.mount", "home-ada.automount"}
    again = settle(play, "ada")
    assert (again["changed"], again["actions"]) == (False, [])


def test_a_user_who_goes_is_unmounted_and_one_who_comes_is_mounted(
    play: Play, machine: Machine
) -> None:
    settle(play, "ada")
    machine.busy = {"/home/ada"}
    actions = settle(play, "ben")["actions"]
    assert actions == ["unmount /home/ada", f"write {machine.fstab}", "start home-ben.automount"]
    assert machine.mounted == {"/opt/beowulf", "/home/ben"}
    assert ["umount", "--lazy", "/home/ada"] in play.commands.run
    assert "/home/ada" not in machine.fstab.read_text()
    assert not settle(play, "ben")["changed"]


def test_another_server_is_mounted_in_place_of_the_first(play: Play, machine: Machine) -> None:
    settle(play, "ada")
    actions = settle(play, "ada", server="10.77.0.9")["actions"]
    assert {"unmount /opt/beowulf", "unmount /home/ada"} <= set(actions)
    assert {"start opt-beowulf.mount", "start home-ada.automount"} <= set(actions)
    assert "10.77.0.1:" not in machine.fstab.read_text()


@pytest.mark.parametrize("own", [OWN, OWN.removesuffix("\n"), ""])
def test_without_directories_there_is_no_block(own: str, play: Play, machine: Machine) -> None:
    machine.fstab.write_text(own)
    assert not settle(play, mounts=[])["changed"]
    assert machine.fstab.read_text() == own
    settle(play, "ada")
    settle(play, mounts=[])
    assert machine.fstab.read_text() == (own if own in ("", OWN) else OWN)
    assert machine.mounted == set()
    assert not settle(play, mounts=[])["changed"]


def test_an_empty_block_of_before_goes(play: Play, machine: Machine) -> None:
    machine.fstab.write_text(f"{OWN}{nfs_mounts.BEGIN}\n{nfs_mounts.END}\n{TAIL}")
    assert settle(play, mounts=[])["changed"]
    assert machine.fstab.read_text() == OWN + TAIL


def test_check_mode_says_what_it_would_do_and_changes_nothing(play: Play, machine: Machine) -> None:
    settle(play, "ada")
    before = machine.fstab.read_text()
    play.commands.run.clear()
    told = settle(play, "ben", check_mode=True)
    assert told["changed"]
    assert told["diff"]["after"] != before
    assert machine.fstab.read_text() == before
    assert {command[1] for command in play.commands.run} == {"is-active"}


@pytest.mark.parametrize(
    "broken",
    [
        BLOCK.replace(nfs_mounts.END + "\n", "") + TAIL,
        BLOCK.replace(nfs_mounts.BEGIN + "\n", "") + TAIL,
        BLOCK.replace(nfs_mounts.END + "\n", "") + TAIL + BLOCK,
        BLOCK + TAIL + BLOCK,
        f"{nfs_mounts.END}\n{TAIL}{nfs_mounts.BEGIN}\n",
    ],
)
def test_half_a_block_is_refused_since_other_lines_may_be_in_it(
    broken: str, play: Play, machine: Machine
) -> None:
    machine.fstab.write_text(OWN + broken)
    with pytest.raises(Failed, match="not one pair"):
        settle(play, "ada")
    assert machine.fstab.read_text() == OWN + broken
    assert play.commands.run == []


def test_blank_and_commented_lines_in_the_block_unmount_nothing(
    play: Play, machine: Machine
) -> None:
    settle(play, "ada")
    lines = BLOCK.splitlines(keepends=True)
    machine.fstab.write_text(OWN + "".join([lines[0], "\n", "#" + lines[1], *lines[1:]]))
    told = settle(play, "ada")
    assert told["actions"] == [f"write {machine.fstab}"]
    assert machine.fstab.read_text() == OWN + BLOCK
    assert machine.mounted == {"/opt/beowulf", "/home/ada"}


def test_local_files_are_not_hidden(
    play: Play, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "ada"
    home.mkdir()
    (machine.skeleton / ".profile").write_text("umask 022\n")
    (home / ".profile").write_text("umask 022\n")
    play(nfs_mounts, mounts=[], automounts=[str(home)], **WORDS)
    machine.fstab.write_text(OWN)
    (home / "-thesis.tex").write_text("x")
    play.commands.run.clear()
    with pytest.raises(Failed, match=f"files in {home} would be hidden"):
        play(nfs_mounts, mounts=[], automounts=[str(home)], **WORDS)
    assert machine.fstab.read_text() == OWN
    assert play.commands.run == []


def test_only_what_useradd_copied_may_be_hidden(machine: Machine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert nfs_mounts.own_files(home) == []
    home.mkdir()
    (machine.skeleton / ".bashrc").write_text("1")
    (home / ".bashrc").write_text("1")
    assert nfs_mounts.own_files(home) == []
    (home / ".bashrc").write_text("2")
    assert nfs_mounts.own_files(home) == [".bashrc"]


def test_a_server_that_is_off_is_said_after_everything_is_in_place(
    play: Play, machine: Machine
) -> None:
    machine.answers = False
    with pytest.raises(Failed, match=r"10\.77\.0\.1 did not answer for 5 s.*Is the head on"):
        settle(play, "ada", wait_s=5)
    assert machine.fstab.read_text() == OWN + BLOCK
    machine.answers = True
    assert settle(play, "ada")["actions"] == [
        "start home-ada.automount",
        "start opt-beowulf.mount",
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_run_that_was_cut_is_made_whole_by_the_next(
    number: int, play: Play, machine: Machine
) -> None:
    settle(play, "ada")
    machine.busy = {"/home/ada"}
    play.commands.run.clear()
    play.commands.cut_at = number
    with pytest.raises(Cut):
        settle(play, "ben")
    play.commands.cut_at = None
    settle(play, "ben")
    assert machine.mounted == {"/opt/beowulf", "/home/ben"}
    assert machine.fstab.read_text() == OWN + BLOCK.replace("ada", "ben")
    assert not settle(play, "ben")["changed"]


def test_the_file_is_written_when_nothing_outdated_is_mounted_any_more(
    play: Play, machine: Machine
) -> None:
    """Otherwise nobody would know, after a cut, what to unmount."""
    settle(play, "ada")

    def does(command: list[str]) -> Answer:
        if command[0] == "umount" or "stop" in command:
            assert "/home/ada" in machine.fstab.read_text()
        return machine.does(command)

    play.commands.does = does
    settle(play, "ben")


NAMES = ["/opt/beowulf", "/home/a-b", "/home/a b", "/.hidden/.x", "/home/zoë", "/a\\b//", "/x:y_1"]


@pytest.mark.parametrize("path", NAMES)
def test_units_are_called_what_systemd_calls_them(path: str) -> None:
    try:
        told = subprocess.run(
            ["systemd-escape", "--path", path], capture_output=True, text=True, check=True
        ).stdout
    except FileNotFoundError:
        pytest.skip("systemd-escape is not here")
    assert nfs_mounts.unit_of(path) == told.strip()


@pytest.mark.parametrize("path", [*NAMES, "/home/a\tb", "/home/a\nb"])
def test_a_directory_comes_back_from_its_line(path: str) -> None:
    line = nfs_mounts.lines_wanted({**WORDS, "mounts": [path], "automounts": []})[path]
    assert len(line.split()) == 6
    assert "\n" not in line
    assert nfs_mounts.directories([line]) == [(line, path)]


def test_mount_points_are_read_without_a_look_there() -> None:
    told = (
        "36 35 98:0 / /home/a\\040b rw,noatime master:1 - nfs4 10.77.0.1:/home x\n"
        "37 35 0:30 / /opt/beowulf rw shared:1 - autofs systemd-1 rw\n"
    )
    assert nfs_mounts.mount_points(told) == {"/home/a b", "/opt/beowulf"}

"""People have accounts with given numbers, whatever is in their homes."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import settled_accounts

from tests.playbooks.conftest import Answer, Commands, Cut, Failed, Play

# The machine's people own their homes, and those who test are seldom root.
ME = os.getuid()
KEY = "ssh-ed25519 " + base64.b64encode(
    b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32
).decode()  # fmt: skip


def ada(**words: Any) -> dict[str, Any]:
    return {"name": "ada", "uid": 2001, "full_name": "Ada Lovelace", **words}


BEN = {"name": "ben", "uid": 2002}


class Machine:
    """Its accounts and groups, changed by useradd and its kin."""

    def __init__(self, directory: Path) -> None:
        self.homes = directory / "home"
        self.homes.mkdir()
        self.users: dict[str, pwd.struct_passwd] = {}
        self.groups: dict[str, int] = {}
        self.userdel_removes_groups = True
        self.add("root", 0, "/root")

    def add(self, name: str, number: int, home: str, gecos: str = "") -> None:
        self.groups.setdefault(name, number)
        words = (name, "x", number, self.groups[name], gecos, home, "/bin/bash")
        self.users[name] = pwd.struct_passwd(words)

    def user(self, key: str | int) -> pwd.struct_passwd | None:
        return next((u for u in self.users.values() if key in (u.pw_name, u.pw_uid)), None)

    def group_of(self, key: str | int) -> grp.struct_group | None:
        found = [(name, number) for name, number in self.groups.items() if key in (name, number)]
        return grp.struct_group((found[0][0], "x", found[0][1], [])) if found else None

    def does(self, command: list[str]) -> Answer:
        name, options = command[-1], dict(w.partition("=")[::2] for w in command[1:-1])
        match command[0]:
            case "groupadd":
                assert name not in self.groups
                self.groups[name] = int(command[2])
            case "useradd":
                assert name in self.groups
                number, home = int(options["--uid"]), options["--home-dir"]
                self.add(name, number, home, options["--comment"])
            case "usermod":
                found = self.users[name]
                words = [*found]
                words[3:7] = [
                    int(options["--gid"]),
                    options["--comment"],
                    options["--home"],
                    options["--shell"],
                ]
                self.users[name] = pwd.struct_passwd(words)
            case "userdel":
                del self.users[name]
                if self.userdel_removes_groups:
                    del self.groups[name]
            case "groupdel":
                del self.groups[name]
            case "timeout":
                public = Path(command[-2]) / ".ssh" / "id_ed25519.pub"
                public.parent.mkdir(exist_ok=True)
                public.write_text(f"{KEY} {name}@cluster\n")
            case "cp":
                (Path(name) / ".profile").write_text("")
        return 0, "", ""

    def state(self) -> tuple[Any, ...]:
        homes = sorted(str(path) for path in self.homes.rglob("*"))
        return dict(self.users), dict(self.groups), homes


@pytest.fixture
def machine(tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setattr(settled_accounts, "user", found.user)
    monkeypatch.setattr(settled_accounts, "group_of", found.group_of)
    play.commands = Commands(found.does)
    return found


def settle(play: Play, machine: Machine, *accounts: dict[str, Any], **words: Any) -> dict[str, Any]:
    homes = str(machine.homes)
    return play(settled_accounts, accounts=list(accounts), homes_directory=homes, **words)


def test_accounts_are_made_once(play: Play, machine: Machine) -> None:
    assert settle(play, machine, ada(), BEN)["changed"]
    assert machine.users["ada"].pw_uid == machine.users["ada"].pw_gid == 2001
    assert machine.users["ada"].pw_dir == f"{machine.homes}/ada"
    assert machine.groups["ben"] == 2002
    again = settle(play, machine, ada(), BEN)
    assert (again["changed"], again["actions"], again["keys"]) == (False, [], {})
    assert not list(machine.homes.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        {"full_name": "Ada, Countess of Lovelace, 1815"},
        {"full_name": "--gid=0 $HOME ~root Zoë"},
        {"full_name": " "},
        {"shell": "/usr/bin/zsh"},
    ],
)
def test_what_changed_is_mended_literally_and_once(
    words: dict[str, str], play: Play, machine: Machine
) -> None:
    settle(play, machine, ada())
    assert settle(play, machine, ada(**words))["actions"] == ["mended the account ada"]
    assert (machine.users["ada"].pw_gecos, machine.users["ada"].pw_shell) == (
        words.get("full_name", "Ada Lovelace"),
        words.get("shell", "/bin/bash"),
    )
    assert not settle(play, machine, ada(**words))["changed"]


@pytest.mark.parametrize(
    ("accounts", "reason"),
    [
        ([ada(name="-r")], "'-r' is no name"),
        ([ada(name="ada\nroot")], "no name"),
        ([ada(name="a da")], "no name"),
        ([ada(name="/etc", state="absent")], "'/etc' is no name"),
        ([ada(name="../etc", state="absent")], "no name"),
        ([ada(name="root", uid=0, state="absent")], "the number 0 of root is below 1000"),
        ([ada(uid=999)], "below 1000"),
        ([ada(full_name="Ada\nroot2::0:0::/:")], "the full_name of ada has a colon or a control"),
        ([ada(full_name="Ada: countess")], "the full_name of ada has a colon"),
        ([{**ada(), "shell": "/bin/sh:x"}], "the shell of ada has a colon"),
        ([ada(), ada(uid=2005)], "the name ada is said twice"),
        ([ada(), ada(state="absent")], "the name ada is said twice"),
        ([ada(), {**BEN, "uid": 2001}], "the uid 2001 is said twice"),
        ([ada(uid=3000)], "the number 3000 of ada is carl's here"),
        ([ada(name="carl")], "carl has the number 3000 here, not 2001"),
        ([ada(name="web")], "the group web has the number 4000 here, not 2001"),
        ([ada(uid=4000)], "the group number 4000 of ada is web's here"),
    ],
)
def test_if_one_account_can_t_be_none_is_touched(
    accounts: list[dict[str, Any]], reason: str, play: Play, machine: Machine
) -> None:
    machine.add("carl", 3000, "/home/carl")
    machine.groups["web"] = 4000
    before = machine.state()
    with pytest.raises(Failed, match=rf"No account was changed: .*{reason}"):
        settle(play, machine, BEN, *accounts, homes=True, remove_homes=True)
    assert machine.state() == before
    assert play.commands.run == []


def test_all_problems_are_said_at_once(play: Play, machine: Machine) -> None:
    with pytest.raises(Failed, match=r"'Ada' is no name.*; .*below 1000.*; .*colon"):
        settle(play, machine, ada(name="Ada"), {**BEN, "uid": 1, "full_name": ":"})


def test_a_number_may_go_on_to_somebody_when_its_first_owner_has_gone(
    play: Play, machine: Machine
) -> None:
    settle(play, machine, ada(state="absent"), {**BEN, "uid": 2001})
    assert machine.users["ben"].pw_uid == 2001


@pytest.mark.parametrize("removes", [True, False])
def test_the_group_goes_with_the_account_whoever_removes_it(
    removes: bool, play: Play, machine: Machine
) -> None:
    machine.userdel_removes_groups = removes
    settle(play, machine, ada(), BEN)
    assert (
        settle(play, machine, ada(state="absent"), BEN)["actions"][0] == "removed the account ada"
    )
    assert (set(machine.users), set(machine.groups)) == ({"root", "ben"}, {"root", "ben"})
    assert not settle(play, machine, ada(state="absent"), BEN)["changed"]


def test_somebody_else_of_that_name_is_left_alone(play: Play, machine: Machine) -> None:
    machine.add("ada", 5000, "/home/ada")
    machine.groups["other"] = 2001
    assert not settle(play, machine, ada(state="absent"), remove_homes=True, homes=True)["changed"]
    assert set(machine.users) == {"root", "ada"}


def test_check_mode_says_what_it_would_do_and_changes_nothing(play: Play, machine: Machine) -> None:
    settle(play, machine, ada())
    before = machine.state()
    play.commands.run.clear()
    told = settle(
        play, machine, ada(state="absent"), BEN, check_mode=True, homes=True, remove_homes=True
    )
    assert told["actions"] == [
        "removed the account ada",
        "made the group ben (2002)",
        "made the account ben (2002)",
        f"made {machine.homes}/ben",
        "made ssh keys for ben",
    ]
    assert machine.state() == before
    assert play.commands.run == []


# --- Homes, of accounts with this test's own number ----------------------------------


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(settled_accounts, "LEAST_NUMBER", min(ME, 1000))
    return ada(uid=ME)


@pytest.fixture
def own(machine: Machine) -> Machine:
    machine.users.clear()
    machine.groups.clear()
    return machine


def test_a_home_is_made_closed_and_with_keys(play: Play, own: Machine, me: dict[str, Any]) -> None:
    told = settle(play, own, me, homes=True)
    home = own.homes / "ada"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert (home / ".profile").exists()
    assert told["keys"] == {"ada": KEY}
    assert [path.name for path in own.homes.iterdir()] == ["ada"]
    assert not settle(play, own, me, homes=True)["changed"]
    home.chmod(0o755)
    assert settle(play, own, me, homes=True)["actions"] == [f"closed {home} to others"]
    assert not settle(play, own, me, homes=True)["changed"]


def test_where_homes_are_mounted_they_are_never_touched(
    play: Play, own: Machine, me: dict[str, Any]
) -> None:
    home = own.homes / "ada"
    home.mkdir(mode=0o755)
    settle(play, own, me, remove_homes=True)
    settle(play, own, {**me, "state": "absent"}, remove_homes=True)
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_a_home_goes_only_if_that_is_said(play: Play, own: Machine, me: dict[str, Any]) -> None:
    settle(play, own, me, homes=True)
    gone = {**me, "state": "absent"}
    settle(play, own, gone, homes=True)
    assert (own.homes / "ada").is_dir()
    told = settle(play, own, gone, homes=True, remove_homes=True)
    assert told["actions"] == [f"deleted {own.homes}/ada"]
    assert not (own.homes / "ada").exists()


def test_a_home_that_is_a_link_is_neither_deleted_nor_followed_there(
    play: Play, own: Machine, me: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (own.homes / "ada").symlink_to(tmp_path / "disk")
    settle(play, own, me, homes=True)
    assert not settle(play, own, me, homes=True)["changed"]
    settle(play, own, {**me, "state": "absent"}, homes=True, remove_homes=True)
    assert (tmp_path / "disk").is_dir()


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_is_no_home_is_refused(
    kind: str, play: Play, own: Machine, me: dict[str, Any]
) -> None:
    home = own.homes / "ada"
    home.touch() if kind == "file" else home.symlink_to("nowhere")
    with pytest.raises(Failed, match="ada is no directory"):
        settle(play, own, me, homes=True)
    assert play.commands.run == []


def test_somebody_elses_home_is_refused(play: Play, machine: Machine) -> None:
    (machine.homes / "ada").mkdir()
    with pytest.raises(Failed, match=f"ada belongs to the number {ME}, not 2001"):
        settle(play, machine, ada(), homes=True)
    assert play.commands.run == []


@pytest.mark.parametrize("number", range(5))
def test_a_run_that_was_cut_is_made_whole_by_the_next(
    number: int, play: Play, own: Machine, me: dict[str, Any]
) -> None:
    play.commands.cut_at = number
    with pytest.raises(Cut):
        settle(play, own, me, homes=True)
    play.commands.cut_at = None
    assert settle(play, own, me, homes=True)["keys"] == {"ada": KEY}
    assert [path.name for path in own.homes.iterdir()] == ["ada"]
    assert (own.homes / "ada" / ".profile").exists()
    assert not settle(play, own, me, homes=True)["changed"]


# --- Public keys ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{KEY} ada@cluster\n", KEY),
        (f"{KEY}\nssh-rsa AAAA second\n", KEY),
        (f'command="x" {KEY}\n', ""),
        (KEY[:-8] + "\n", ""),
        ("ssh-ed25519 Zoë\n", ""),
        ("ssh-ed25519", ""),
        ("ssh-rsa " + KEY.split()[1], ""),
        ("", ""),
        ("x" * 5000, ""),
        (b"\xff\xfe\0", ""),
    ],
)
def test_only_what_has_the_form_of_a_key_is_told(
    text: str | bytes, told: str, tmp_path: Path
) -> None:
    public = tmp_path / ".ssh" / "id_ed25519.pub"
    public.parent.mkdir()
    public.write_bytes(text.encode() if isinstance(text, str) else text)
    assert settled_accounts.public_key({"home": str(tmp_path)}) == told


def put(kind: str, path: Path) -> None:
    """Put something in a file's place that a user could put there."""
    match kind:
        case "link":
            (path.parent / "elsewhere").write_text(KEY)
            path.symlink_to("elsewhere")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "file":
            path.write_text("rubbish\n")


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "nothing"])
@pytest.mark.timeout(20)
def test_what_is_no_file_is_no_key(kind: str, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    put(kind, tmp_path / ".ssh" / "id_ed25519.pub")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert settled_accounts.public_key({"home": str(tmp_path)}) == ""
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_key_that_can_t_be_made_is_said_and_stops_nobody_else(
    play: Play, own: Machine, me: dict[str, Any]
) -> None:
    (own.homes / "ada").mkdir(mode=0o700)

    def does(command: list[str]) -> Answer:
        told = (1, "", "mkdir: cannot create directory\nPermission denied\n")
        return told if command[0] == "timeout" else own.does(command)

    play.commands.does = does
    told = settle(play, own, me, {**BEN, "state": "absent"}, homes=True)
    assert told["actions"] == [f"made the group ada ({ME})", f"made the account ada ({ME})"]
    assert told["keys"] == {}
    assert play.warnings == [
        f"ada has no ssh key for the cluster: Permission denied. Look: {own.homes}/ada/.ssh"
    ]


@pytest.fixture
def nobodys(play: Play, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The account `nobody` with a home that it can reach, and programs that run."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        (home / "nobody" / ".ssh").mkdir(parents=True)

        def does(command: list[str]) -> Answer:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr

        play.commands = Commands(does)
        monkeypatch.setattr(settled_accounts, "KEYS_S", 2)
        yield {"name": "nobody", "home": f"{name}/nobody", "uid": pwd.getpwnam("nobody").pw_uid}


def make_keys(play: Play, account: dict[str, Any]) -> list[str]:
    """Make keys in a home that is the account's, and check who owns them."""
    for path in [Path(account["home"]), *Path(account["home"]).rglob("*")]:
        os.chown(path, account["uid"], 65534, follow_symlinks=False)

    class Module:
        check_mode = False
        run_command = staticmethod(play.commands)
        warn = staticmethod(play.warnings.append)

    done = settled_accounts.make_keys(Module(), account)
    if done:
        for name, mode in (("id_ed25519", 0o600), ("id_ed25519.pub", None)):
            status = (Path(account["home"]) / ".ssh" / name).lstat()
            assert status.st_uid == account["uid"]
            assert stat.S_ISREG(status.st_mode)
            assert mode in (None, stat.S_IMODE(status.st_mode))
    return done


@pytest.mark.root
@pytest.mark.parametrize("kind", ["nothing", "link", "fifo", "file"])
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.skipif(not shutil.which("runuser"), reason="runuser is not here")
def test_keys_are_made_whatever_was_in_their_place(
    kind: str, private: bool, play: Play, nobodys: dict[str, Any]
) -> None:
    place = Path(nobodys["home"]) / ".ssh" / "id_ed25519"
    if private:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place)]
        subprocess.run(command, check=True)
        expected = Path(f"{place}.pub").read_text().split()[1]
        Path(f"{place}.pub").unlink()
    put(kind, Path(f"{place}.pub"))
    assert make_keys(play, nobodys) == ["made ssh keys for nobody"]
    told = settled_accounts.public_key(nobodys)
    assert told.startswith("ssh-ed25519 AAAA")
    assert not private or told.split()[1] == expected
    assert play.warnings == []


@pytest.mark.root
@pytest.mark.skipif(not shutil.which("runuser"), reason="runuser is not here")
@pytest.mark.parametrize("kind", ["fifo", "directory", "file"])
def test_a_private_key_of_another_kind_stops_nobody(
    kind: str, play: Play, nobodys: dict[str, Any]
) -> None:
    put(kind, Path(nobodys["home"]) / ".ssh" / "id_ed25519")
    (Path(nobodys["home"]) / ".profile").write_text("sleep 1000\n")
    assert make_keys(play, nobodys) == []
    assert len(play.warnings) == 1
    assert "nobody has no ssh key for the cluster" in play.warnings[0]

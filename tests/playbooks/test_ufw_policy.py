"""What comes into a machine is what was stated, and ssh is never shut out on the way there."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import ufw_policy

from tests.playbooks.conftest import Answer, Commands, Cut, Failed, Play

SUBNET = "10.77.0.0/24"
COMMENT = "comment=" + b"beowulf ssh".hex()
NFS = {"port": "2049", "protocol": "tcp"}
SLURM = {"port": "6817", "protocol": "tcp"}
MPI = {"port": "62000:62999", "protocol": "tcp"}


class Machine:
    """Does with its files what ufw 0.36.2 was seen to do."""

    def __init__(self, directory: Path) -> None:
        self.rules, self.rules6 = directory / "user.rules", directory / "user6.rules"
        self.profiles = directory / "applications.d"
        self.profiles.mkdir()
        self.conf, self.default = directory / "ufw.conf", directory / "default"
        self.sysctl, self.forwarding = directory / "sysctl.conf", directory / "ip_forward"
        self.ufw = directory / "ufw"
        self.ufw.touch()
        self.conf.write_text("ENABLED=no\n")
        self.default.write_text('DEFAULT_INPUT_POLICY="ACCEPT"\nDEFAULT_OUTPUT_POLICY="ACCEPT"\n')
        self.forwarding.write_text("1\n")
        self.active = False
        self.tuples: list[str] = []
        self.loaded: list[str] = []  # what the kernel has
        self.write()

    def write(self) -> None:
        text = "".join(f"### tuple ### {rule}\n-A ufw-user-input x\n\n" for rule in self.tuples)
        self.rules.write_text("*filter\n" + text + "COMMIT\n")
        self.rules6.write_text(re.sub(r"0\.0\.0\.0/0", "::/0", text))

    def files(self) -> dict[str, str]:
        places = [self.rules, self.conf, self.default, self.sysctl, self.forwarding]
        places += list(self.profiles.iterdir())
        return {path.name: path.read_text() for path in places if path.exists()}

    def does(self, command: list[str]) -> Answer:
        if command[1:] == ["-S", "ufw-user-input"]:
            return 0, "".join(map(in_kernel, self.loaded)), ""
        loaded = self.loaded
        answer = self.changes(command)
        # Over ssh, ufw "skipped reloading firewall" when a profile is updated.
        only_written = command[1:3] == ["app", "update"] or command[1] in ("status", "default")
        self.loaded = loaded if only_written else list(self.tuples)
        return answer

    def changes(self, command: list[str]) -> Answer:
        match command[1:]:
            case ["reload"]:
                pass
            case ["status"]:
                return 0, f"Status: {'active' if self.active else 'inactive'}\n", ""
            case ["--force", "enable"]:
                self.conf.write_text("ENABLED=yes\n")
                self.active = True
            case ["default", "deny", "incoming"]:
                self.default.write_text(self.default.read_text().replace("ACCEPT", "DROP", 1))
            case ["app", "update", name]:
                old = [rule for rule in self.tuples if f" {name} - in" in rule]
                kept = [rule for rule in self.tuples if rule not in old]
                sources = dict.fromkeys(rule.split()[5] for rule in old)
                self.tuples = kept + [rule for source in sources for rule in self.app(name, source)]
            case ["allow", "from", source, "to", "any", "app", name]:
                self.tuples += [r for r in self.app(name, source) if r not in self.tuples]
            case ["delete", "allow", "from", source, "to", "any", "app", name]:
                assert (self.profiles / name).exists()  # otherwise ufw does not know what it is
                gone = f" any {written(source)} {name} - in"
                self.tuples = [rule for rule in self.tuples if not rule.endswith(gone)]
            case ["allow", "proto", "tcp", "from", source, "to", "any", "port", "22", "comment", _]:
                rule = f"allow tcp 22 0.0.0.0/0 any {written(source)} in {COMMENT}"
                self.tuples += [rule] if rule not in self.tuples else []
            case ["delete", "allow", "proto", "tcp", "from", source, "to", "any", "port", "22"]:
                gone = f"allow tcp 22 0.0.0.0/0 any {written(source)} in"
                self.tuples = [rule for rule in self.tuples if not rule.startswith(gone)]
            case _:
                return 1, "", f"ERROR: Invalid syntax: {command}\n"
        self.write()
        return 0, "Rules updated\n", ""

    def app(self, name: str, source: str) -> list[str]:
        ports = (self.profiles / name).read_text().partition("ports=")[2].strip().split("|")
        pairs = (port.split("/") for port in ports)
        return [
            f"allow {protocol} {port} 0.0.0.0/0 any {written(source)} {name} - in"
            for port, protocol in pairs
        ]

    def open(self) -> set[tuple[str, str]]:
        """Return which port each network sees."""
        return {(rule.split()[2], rule.split()[5]) for rule in self.loaded}


def in_kernel(rule: str) -> str:
    """Return a rule as iptables shows it."""
    _, protocol, port, _, _, source, *words = rule.split()
    if words[:1] in ([], ["in"]):
        return f"-A ufw-user-input -p tcp -m tcp --dport {port} -j ACCEPT\n"
    return (
        f"-A ufw-user-input -s {source} -p {protocol} -m multiport --dports {port} -m comment "
        f"--comment \"\\'dapp_{words[0]}\\'\" -j ACCEPT\n"
    )


def written(source: str) -> str:
    """Return a network as ufw writes it down."""
    if source == "any":
        return "0.0.0.0/0"
    return str(ipaddress.ip_network(source, strict=False)).removesuffix("/32")


@pytest.fixture
def machine(tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setattr(ufw_policy, "UFW", str(found.ufw))
    monkeypatch.setattr(ufw_policy, "RULES", (found.rules, found.rules6))
    monkeypatch.setattr(ufw_policy, "PROFILES", found.profiles)
    monkeypatch.setattr(ufw_policy, "DEFAULT", found.default)
    monkeypatch.setattr(ufw_policy, "CONF", found.conf)
    monkeypatch.setattr(ufw_policy, "SYSCTL", found.sysctl)
    monkeypatch.setattr(ufw_policy, "FORWARDING", found.forwarding)
    play.commands = Commands(found.does)
    return found


def settle(play: Play, *ports: dict[str, str], **words: Any) -> dict[str, Any]:
    return play(
        ufw_policy, **{"source": SUBNET, "ports": list(ports), "ssh_from": ["any"], **words}
    )


SSH = ("22", "0.0.0.0/0")


def test_a_bare_machine_is_closed_after_ssh_was_let_in(play: Play, machine: Machine) -> None:
    actions = settle(play, NFS, MPI)["actions"]
    assert machine.open() == {SSH, ("2049", SUBNET), ("62000:62999", SUBNET)}
    assert actions[0].startswith("ufw allow proto tcp from any to any port 22")
    assert actions.index("ufw --force enable") > actions.index("ufw default deny incoming")
    assert machine.active
    assert machine.forwarding.read_text() == "0\n"
    assert 'INPUT_POLICY="DROP"' in machine.default.read_text()
    again = settle(play, NFS, MPI)
    assert (again["changed"], again["actions"]) == (False, [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([NFS, SLURM], [NFS]),
        ([NFS], [SLURM, NFS]),
        ([NFS], [SLURM]),  # none of those before
        ([NFS, SLURM], []),
        ([], [NFS]),
        ([], []),
    ],
)
def test_exactly_the_stated_ports_are_open_after_one_run(
    before: list[dict[str, str]], after: list[dict[str, str]], play: Play, machine: Machine
) -> None:
    settle(play, *before)
    settle(play, *after)
    assert machine.open() == {SSH} | {(port["port"], SUBNET) for port in after}
    assert not settle(play, *after)["changed"]


@pytest.mark.parametrize("ports", [[NFS], [SLURM], []])
def test_another_subnet_takes_the_place_of_the_first(
    ports: list[dict[str, str]], play: Play, machine: Machine
) -> None:
    settle(play, NFS)
    settle(play, *ports, source="10.88.0.0/16")
    assert machine.open() == {SSH} | {(port["port"], "10.88.0.0/16") for port in ports}
    assert not settle(play, *ports, source="10.88.0.0/16")["changed"]


def test_what_others_told_ufw_stays(play: Play, machine: Machine) -> None:
    theirs = [
        "allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow tcp 22 0.0.0.0/0 any 192.0.2.0/24 in comment=6d696e65",
        "allow any any 0.0.0.0/0 any 198.51.100.7",  # as older releases wrote it
        "allow tcp 2049 0.0.0.0/0 any 0.0.0.0/0 NFS - in",
    ]
    machine.tuples = list(theirs)
    machine.write()
    settle(play, NFS)
    settle(play)
    assert [rule for rule in machine.tuples if rule in theirs] == theirs


@pytest.mark.parametrize("source", ["192.0.2.7/24", "192.0.2.0/24", "192.0.2.7/32", "192.0.2.7"])
def test_ssh_stays_open_however_the_network_is_written(
    source: str, play: Play, machine: Machine
) -> None:
    settle(play, NFS, ssh_from=[source])
    for _ in range(2):
        assert not settle(play, NFS, ssh_from=[source])["changed"]
        assert ("22", written(source)) in machine.open()


def test_ssh_is_let_in_from_the_new_network_before_the_old_one_is_shut_out(
    play: Play, machine: Machine
) -> None:
    settle(play, NFS)

    def does(command: list[str]) -> Answer:
        answer = machine.does(command)
        assert any(port == "22" for port, _ in machine.open()), command
        return answer

    play.commands.does = does
    settle(play, NFS, ssh_from=["192.0.2.0/24", SUBNET])
    assert machine.open() == {("22", "192.0.2.0/24"), ("22", SUBNET), ("2049", SUBNET)}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"ssh_from": []}, "nobody could log in"),
        ({"ssh_from": ["any", "--help"]}, "'--help' is no network"),
        ({"ssh_from": ["192.0.2.0/33"]}, "no network"),
        ({"source": "head"}, "'head' is no network"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_changed(
    words: dict[str, Any], reason: str, play: Play, machine: Machine
) -> None:
    before = machine.files()
    with pytest.raises(Failed, match=reason):
        settle(play, NFS, **words)
    assert machine.files() == before
    assert play.commands.run == []


def test_check_mode_says_what_it_would_do_and_changes_nothing(play: Play, machine: Machine) -> None:
    before = machine.files()
    told = settle(play, NFS, check_mode=True)
    assert "ufw --force enable" in told["actions"]
    assert "switch forwarding off" in told["actions"]
    assert "2049/tcp from 10.77.0.0/24" in told["diff"]["after"]
    assert machine.files() == before
    assert [command[1:] for command in play.commands.run] in ([], [["status"]])


def test_check_mode_does_not_need_ufw(play: Play, machine: Machine) -> None:
    machine.ufw.unlink()
    assert settle(play, NFS, check_mode=True)["actions"] == ["install ufw"]
    with pytest.raises(Failed, match="is missing"):
        settle(play, NFS)


def test_a_firewall_that_somebody_switched_off_is_switched_on(play: Play, machine: Machine) -> None:
    settle(play, NFS)
    machine.active = False
    assert settle(play, NFS)["actions"] == ["ufw --force enable"]


def test_what_ufw_says_is_passed_on(play: Play, machine: Machine) -> None:
    play.commands.does = lambda _: (1, "", "ERROR: Couldn't determine iptables version\n")
    with pytest.raises(Failed, match="port 22 comment beowulf ssh: ERROR: Couldn't determine"):
        settle(play, NFS)


@pytest.mark.parametrize("number", range(6))
def test_a_run_that_was_cut_is_made_whole_by_the_next(
    number: int, play: Play, machine: Machine
) -> None:
    settle(play, NFS, SLURM, source="10.88.0.0/16", ssh_from=["192.0.2.0/24"])
    machine.active = False
    play.commands.run.clear()
    play.commands.cut_at = number
    with contextlib.suppress(Cut):
        settle(play, MPI)
    assert any(port == "22" for port, _ in machine.open())
    play.commands.cut_at = None
    settle(play, MPI)
    assert machine.open() == {SSH, ("62000:62999", SUBNET)}
    assert not settle(play, MPI)["changed"]


def test_the_first_run_may_be_cut_anywhere(play: Play, machine: Machine) -> None:
    for number in range(6):
        play.commands.run.clear()
        play.commands.cut_at = number
        try:
            settle(play, NFS)
        except Cut:
            assert not machine.active or SSH in machine.open()
    play.commands.cut_at = None
    settle(play, NFS)
    assert not settle(play, NFS)["changed"]

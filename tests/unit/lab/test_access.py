"""The lab's ssh configuration, as ssh itself understands it, and who is let in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from beowulf.errors import LabError, LabNotFound, NodeUnreachable
from beowulf.lab import access, power
from beowulf.lab.access import (
    ensure_identity,
    enter,
    ssh_command,
    wait_for_host_keys,
    wait_for_login,
    write_ssh_config,
)
from beowulf.lab.directory import LabDirectory
from beowulf.lab.settings import Settings, write_settings
from tests.unit.lab.plans import NODE1, PLAN


@pytest.fixture
def directory(tmp_path: Path) -> LabDirectory:
    """A lab with one node that is off."""
    directory = LabDirectory(tmp_path / "labs" / "mine")
    directory.node("node1").path.mkdir(parents=True)
    write_settings(directory, Settings(PLAN, "bare", tmp_path, tmp_path))
    write_ssh_config(directory, PLAN)
    return directory


def effective(directory: LabDirectory, host: str) -> dict[str, list[str]]:
    """Return the options that ssh would use for a host."""
    command = ["ssh", "-G", "-T", "-F", str(directory.ssh_config), host]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    found: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("host", ["node1", "10.77.0.11"])
def test_a_node_is_reached_as_admin_inside_the_lab_s_network(
    directory: LabDirectory, host: str
) -> None:
    options = effective(directory, host)
    assert options["hostname"] == ["10.77.0.11"]
    assert options["user"] == ["admin"]
    assert options["identityfile"] == [str(directory.identity)]
    assert options["proxycommand"] == ["nsenter --net=/run/netns/beowulf-mine nc %h %p"]


def test_the_host_key_is_always_verified_by_the_lab_s_own_list(directory: LabDirectory) -> None:
    options = effective(directory, "node1")
    assert options["stricthostkeychecking"] in (["true"], ["yes"])
    assert options["userknownhostsfile"] == [str(directory.known_hosts)]
    assert options["globalknownhostsfile"] == ["none"]
    assert options["updatehostkeys"] in (["false"], ["no"])
    assert options.get("verifyhostkeydns", ["false"]) in (["false"], ["no"])
    assert options.get("nohostauthenticationforlocalhost", ["no"]) == ["no"]


def test_only_the_lab_s_key_is_offered_and_nothing_is_forwarded(directory: LabDirectory) -> None:
    options = effective(directory, "node1")
    assert options["identitiesonly"] == ["yes"]
    assert options["passwordauthentication"] == ["no"]
    assert options["forwardagent"] == ["no"]
    assert options["forwardx11"] == ["no"]


def test_the_configuration_can_be_read_by_those_who_have_no_key(directory: LabDirectory) -> None:
    assert directory.ssh_config.stat().st_mode & 0o777 == 0o644
    assert "PRIVATE KEY" not in directory.ssh_config.read_text()


def test_a_key_is_made_once_and_for_root_alone(directory: LabDirectory) -> None:
    ensure_identity(directory)
    private = directory.identity.read_text()
    assert directory.identity.stat().st_mode & 0o777 == 0o600
    assert directory.identity.with_suffix(".pub").read_text().startswith("ssh-ed25519 ")
    ensure_identity(directory)
    assert directory.identity.read_text() == private


def test_half_a_key_is_made_anew(directory: LabDirectory) -> None:
    directory.identity.write_text("half of one")
    ensure_identity(directory)
    command = ["ssh-keygen", "-y", "-f", str(directory.identity)]
    public = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert directory.identity.with_suffix(".pub").read_text().split()[:2] == public.split()[:2]


def test_the_words_of_a_command_are_none_of_ssh_s_flags(directory: LabDirectory) -> None:
    config = str(directory.ssh_config)
    assert ssh_command(directory, "node1") == ["ssh", "-F", config, "node1"]
    command = ssh_command(directory, "node1", ["-V", "$(id)"], ["-o", "ProxyCommand=false"])
    assert command == [
        "ssh", "-F", config, "-o", "ProxyCommand=false", "node1", "--", "-V", "$(id)"
    ]  # fmt: skip
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 255
    assert "OpenSSH" not in answer.stderr


def test_who_waits_for_a_node_that_is_off_is_told_at_once(directory: LabDirectory) -> None:
    with pytest.raises(NodeUnreachable, match=r"^node1: it went off while it started; see .*log$"):
        wait_for_host_keys(directory, NODE1)
    directory.node("node1").path.rmdir()
    with pytest.raises(NodeUnreachable, match=r"^node1: it went off while it started; see .*log$"):
        wait_for_host_keys(directory, NODE1)


def test_who_waits_for_a_node_that_never_answers_is_told_where_to_look(
    directory: LabDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "BOOT_TIMEOUT_S", 0)
    monkeypatch.setattr(power, "state", lambda *_: "on")
    monkeypatch.setattr(access, "_answers", lambda *_: False)
    with pytest.raises(NodeUnreachable, match=r"^node1: no answer after 0 s; see .*console\.log$"):
        wait_for_host_keys(directory, NODE1)
    with pytest.raises(NodeUnreachable, match=r"^node1: no answer after 0 s; see .*console\.log$"):
        wait_for_login(directory, NODE1)


def test_a_refused_login_is_told_in_ssh_s_last_words(
    directory: LabDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_answers", lambda *_: True)
    with pytest.raises(NodeUnreachable, match=r"^node1: no login: .+"):
        wait_for_login(directory, NODE1)


def test_only_a_node_that_is_on_is_entered(
    directory: LabDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "require_host", lambda: None)
    with pytest.raises(NodeUnreachable, match=r"^node1 is off; run: beowulf lab up "):
        enter(directory, "node1", [])
    with pytest.raises(LabNotFound, match=r"^the lab has no node node7; it has: node1, node2$"):
        enter(directory, "node7", [])


def test_entering_becomes_ssh(directory: LabDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "require_host", lambda: None)
    monkeypatch.setattr(power, "state", lambda *_: "on")
    became: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda _, words: became.append(words))
    enter(directory, "node1", ["hostname"])
    assert became == [ssh_command(directory, "node1", ["hostname"])]


def test_a_refusal_of_the_host_comes_first(
    directory: LabDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"run it as root \(sudo\)$"):
        enter(directory, "no such node", [])

"""What a node's kernel is told: one word each, short enough, and nothing of this computer's."""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path

import pytest

from beowulf.errors import LabError
from beowulf.lab.directory import lab_directory
from beowulf.lab.kernel import KERNEL, LONGEST, Boot, command_line
from beowulf.lab.machine import Machine, Plan
from tests.unit.lab.plans import NODE1, PLAN

PUBLIC_KEY = f"ssh-ed25519 {'A' * 68} beowulf lab {'x' * 31}\n"
LABS = Path("/var/lib/beowulf/labs/lab")
BOOT = Boot(
    base=Path("/var/cache/beowulf/images/bare/disk.img"),
    disk=LABS / "nodes/node1/disk.cow",
    consoles=LABS / "run",
    empty=LABS / "run/.empty",
    public_key=PUBLIC_KEY,
)


def value_of(words: list[str], key: str) -> str:
    (value,) = [word.removeprefix(key) for word in words if word.startswith(key)]
    return value


def files_of(words: list[str]) -> list[str]:
    """Return the lines that systemd-tmpfiles gets."""
    encoded = value_of(words, "systemd.set_credential_binary=tmpfiles.extra:")
    return base64.b64decode(encoded, validate=True).decode().splitlines()


def test_one_that_was_compiled_here_is_asked_by_signals() -> None:
    words = command_line(NODE1, PLAN, dataclasses.replace(BOOT, program="/k/linux.uml"))
    assert words[0] == "/k/linux.uml"
    assert words[1:] == [*command_line(NODE1, PLAN, BOOT)[1:], "seccomp=on"]


def test_the_machine_is_what_the_plan_says() -> None:
    words = command_line(NODE1, PLAN, BOOT)
    assert words[0] == KERNEL
    assert "seccomp=on" not in words
    assert "mem=512M" in words
    assert "umid=node1" in words
    assert "systemd.hostname=node1" in words
    assert value_of(words, "ip=") == "10.77.0.11::10.77.0.1:255.255.255.0:node1:vec0:none"
    card = value_of(words, "vec0:").split(",")
    assert {"transport=tap", "ifname=tap11", "mac=02:be:0f:77:00:11"} <= set(card)
    assert value_of(words, "ubd0=") == f"{BOOT.disk},{BOOT.base}"
    assert value_of(words, "uml_dir=") == f"{BOOT.consoles}/"


def test_the_node_sees_none_of_this_computer_s_files() -> None:
    assert value_of(command_line(NODE1, PLAN, BOOT), "hostfs=") == str(BOOT.empty)


def test_only_the_console_reaches_this_computer() -> None:
    words = command_line(NODE1, PLAN, BOOT)
    consoles = [word for word in words if re.match(r"(con|ssl)\d*=", word)]
    assert sorted(consoles) == ["con0=null,fd:1", "con=null", "ssl=null"]


def test_what_the_first_boot_writes() -> None:
    proxy = r'Acquire::http::Proxy "http://10.77.0.1:3128";\n'
    key = base64.b64encode(PUBLIC_KEY.encode()).decode()
    assert files_of(command_line(NODE1, PLAN, BOOT)) == [
        r"f /etc/hostname 0644 root root - node1\n",
        r"f /etc/hosts 0644 root root - 127.0.0.1\tlocalhost\n127.0.1.1\tnode1\n",
        f"f /etc/apt/apt.conf.d/90lab-proxy 0644 root root - {proxy}",
        "d /home/admin/.ssh 0700 admin admin -",
        f"f~ /home/admin/.ssh/authorized_keys 0600 admin admin - {key}",
    ]


def test_every_word_is_one_word_to_the_kernel() -> None:
    for word in command_line(NODE1, PLAN, BOOT):
        assert re.fullmatch(r"[!-~]+", word)
        assert '"' not in word


def test_the_longest_names_in_the_longest_directory_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEOWULF_LAB_STATE_DIR", "/" + "s" * 50)
    directory = lab_directory("l" * 31)
    machine = Machine("n" * 63, "192.168.255.254", "02:be:0f:77:00:11", 65_536)
    boot = Boot(
        base=Path("/" + "c" * 200) / "images" / "prepared" / ("d" * 64),
        disk=directory.node(machine.name).disk,
        consoles=directory.consoles,
        empty=directory.consoles / ".empty",
        public_key=PUBLIC_KEY,
    )
    words = command_line(machine, Plan("192.168.0.0/16", (machine,)), boot)
    assert len(" ".join(words)) < LONGEST


def test_what_the_kernel_would_cut_off_is_refused() -> None:
    room = LONGEST - 1 - len(" ".join(command_line(NODE1, PLAN, BOOT)).encode())
    fitting = dataclasses.replace(BOOT, base=Path(f"{BOOT.base}{'x' * room}"))
    assert len(" ".join(command_line(NODE1, PLAN, fitting))) == LONGEST - 1
    too_long = dataclasses.replace(BOOT, base=Path(f"{BOOT.base}{'x' * (room + 1)}"))
    with pytest.raises(LabError, match=r"^node1: .* at most 4095 bytes .* 4096; choose shorter"):
        command_line(NODE1, PLAN, too_long)

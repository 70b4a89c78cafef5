"""Nothing in this repository turns the verification of host keys off, not even an example."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.conftest import REPOSITORY

# Put together from halves, so that this file does not find itself.
OFF = r"(no|off|never|false|none|0|accept[-_]?new)\b"
BETWEEN = r"""[\s"'=:>,{}()\[\]-]*"""
PATTERNS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"StrictHost" + r"KeyChecking" + BETWEEN + OFF,
        r"(User|Global)Known" + r"HostsFile" + BETWEEN + r"/dev/null",
        r"user_known_" + r"hosts_file" + BETWEEN + r"/dev/null",
        r"CheckHost" + r"IP" + BETWEEN + r"no\b",
        r"NoHostAuthentication" + r"ForLocalhost" + BETWEEN + r"yes\b",
        r"(AutoAdd|Warning)" + r"Policy\b",
        r"verify_host" + r"_key" + BETWEEN + OFF,
        r"paranoid" + BETWEEN + r"false\b",
        r"host_key" + r"_check(ing)?" + BETWEEN + OFF,
        r"HOST_KEY" + r"_CHECKING" + BETWEEN + OFF,
        r"known_" + r"hosts" + r"""["']?\s*[=:]\s*(None|nil|null)\b""",
        r"Verify" + r"HostKeyDNS" + BETWEEN + r"yes\b",
        r"ssh-key" + r"scan\b",
    )
]


def disabled_in(text: str) -> list[str]:
    """Return each place in a text that turns the verification of host keys off."""
    return [match[0] for pattern in PATTERNS for match in pattern.finditer(text)]


@pytest.mark.parametrize(
    "example",
    [
        "StrictHost" + "KeyChecking no",
        "ssh -o StrictHost" + "KeyChecking=no node",
        "-o 'stricthost" + "keychecking off'",
        "StrictHost" + "KeyChecking=accept-new",
        '["-o", "StrictHost' + 'KeyChecking", "no"]',
        "StrictHost" + 'KeyChecking: "false"',
        "UserKnown" + "HostsFile /dev/null",
        "-oUserKnown" + "HostsFile=/dev/null",
        "GlobalKnown" + 'HostsFile="/dev/null"',
        "client.set_missing_host_key_policy(paramiko.AutoAdd" + "Policy())",
        "paramiko.Warning" + "Policy",
        "verify_host" + "_key: :never",
        "verify_host" + "_key => false",
        'config.ssh.verify_host' + '_key = "accept_new"',
        "ssh.verify_host" + "_key = :accept_new",
        "paranoid" + ": false",
        "host_key" + "_checking = False",
        "host_key" + "_checking: no",
        "host_key" + "_checking=0",
        "ANSIBLE_HOST_KEY" + "_CHECKING=False",
        'ENV["ANSIBLE_HOST_KEY' + '_CHECKING"] = "false"',
        "known_" + "hosts=None",
        "ssh-key" + "scan node1 >> known_hosts",
        "CheckHost" + "IP no",
    ],
)  # fmt: skip
def test_every_way_of_turning_it_off_is_known(example: str) -> None:
    assert disabled_in(f"before\n  {example}\nbehind")


@pytest.mark.parametrize(
    "example",
    [
        "StrictHost" + "KeyChecking yes",
        "-o StrictHost" + "KeyChecking=yes",
        "StrictHost" + "KeyChecking ask",
        "UserKnown" + "HostsFile /srv/known_hosts",
        "GlobalKnown" + "HostsFile none",
        "client.set_missing_host_key_policy(paramiko.RejectPolicy())",
        "verify_host" + "_key: :always",
        "host_key" + "_checking = True",
        "host_key" + "_checking: normal",
        "known_" + "hosts = lab.known_hosts",
    ],
)
def test_verifying_is_no_offence(example: str) -> None:
    assert disabled_in(example) == []


def test_no_file_of_this_repository_turns_it_off() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY, capture_output=True, check=True,
    ).stdout  # fmt: skip
    names = [name for name in listed.decode().split("\0") if name]
    searched, offences = 0, {}
    for name in names:
        path = REPOSITORY / name
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        if b"\0" in data:
            continue
        searched += 1
        found = disabled_in(data.decode("utf-8", "replace"))
        if found:
            offences[name] = found
    assert searched > 100
    assert offences == {}

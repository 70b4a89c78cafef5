"""Host keys come from the console alone, whole, and once."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.lab.directory import LabDirectory, NodeDirectory
from beowulf.lab.hostkeys import collect_host_keys, parse_host_keys, write_known_hosts
from tests.unit.lab.plans import PLAN


def field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def key(kind: str, *fields: bytes, inner: str | None = None) -> str:
    data = b"".join(field(part) for part in ((inner or kind).encode(), *fields))
    return f"{kind} {base64.b64encode(data).decode()}"


ED25519 = key("ssh-ed25519", bytes(range(32)))
OTHER_ED25519 = key("ssh-ed25519", bytes(reversed(range(32))))
RSA = key("ssh-rsa", b"\1\0\1", bytes(range(256)) + b"\1")
ECDSA = key("ecdsa-sha2-nistp256", b"nistp256", bytes(65))
KEYS = [ED25519, RSA, ECDSA]
TOLD = "".join(f"lab-host-key: {key} root@node1\n" for key in KEYS)


@pytest.fixture
def node(tmp_path: Path) -> NodeDirectory:
    return NodeDirectory(tmp_path)


def test_keys_as_the_image_prints_them() -> None:
    assert parse_host_keys(TOLD) == KEYS
    assert parse_host_keys(TOLD.replace("\n", "\r\n")) == KEYS
    assert parse_host_keys(TOLD.replace(" root@node1", "")) == KEYS
    assert parse_host_keys(f"{TOLD}{TOLD}") == KEYS


def test_keys_that_ssh_keygen_made(tmp_path: Path) -> None:
    public = []
    for kind in ("ed25519", "ecdsa", "rsa"):
        path = tmp_path / kind
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
        public.append(path.with_suffix(".pub").read_text())
    told = "".join(f"lab-host-key: {line}" for line in public)
    assert parse_host_keys(told) == [line.rsplit(" ", 1)[0] for line in public]


@pytest.mark.parametrize("noise", ["[    1.234] EXT4-fs: mounted", "\x1b[0m", "[  OK  ] Started "])
def test_what_stands_before_a_key_does_not_matter(noise: str) -> None:
    assert parse_host_keys(f"{noise}lab-host-key: {RSA} root@node1\n") == [RSA]


@pytest.mark.parametrize("noise", ["[    1.234] random: crng init done", "\x1b[31m", "é", " "])
def test_a_key_with_something_in_it_is_none(noise: str) -> None:
    cut = len(ED25519) // 2
    assert parse_host_keys(f"lab-host-key: {ED25519[:cut]}{noise}{ED25519[cut:]}\n") == []


def test_a_key_that_another_line_cut_off_is_none_and_the_next_is_read() -> None:
    text = f"lab-host-key: {ED25519[:40]}[ 1.2] words\nlab-host-key: {RSA}\n"
    assert parse_host_keys(text) == [RSA]
    assert parse_host_keys(f"lab-host-key: {ED25519[:40]}lab-host-key: {RSA}\n") == [RSA]


@pytest.mark.parametrize("whole", KEYS)
def test_no_part_of_a_key_is_a_key(whole: str) -> None:
    parts = [whole[:size] for size in range(len(whole))]
    assert [part for part in parts if parse_host_keys(f"lab-host-key: {part}\n")] == []


@pytest.mark.parametrize(
    "wrong",
    [
        key("ssh-ed25519", bytes(32), inner="ssh-rsa"),
        key("ssh-rsa", b"\1\0\1", bytes(256), inner="ssh-ed25519"),
        key("ssh-ed25519"),
        key("ssh-ed25519", bytes(32), bytes(1)),
        key("ssh-rsa", b"\1\0\1"),
        f"{ED25519}AAAA",
        f"{ED25519}====",
        "ssh-ed25519 ====",
        "ssh-ed25519 AAAA",
        "ssh-ed25519",
        "evil-type AAAA",
        "ssh-ed25519  " + ED25519.split()[1],
    ],
)
def test_what_is_no_whole_key_of_its_type_is_none(wrong: str) -> None:
    assert parse_host_keys(f"lab-host-key: {wrong} root@node1\n") == []


def test_a_key_without_the_unit_s_word_is_none() -> None:
    assert parse_host_keys(f"{ED25519} root@node1\nhost-key: {RSA}\n") == []


PIECES = st.sampled_from(
    ["lab-host-key: ", *KEYS, ED25519[:30], RSA[30:], "\n", "\r\n", " ", "root@a", "ssh-rsa ", "="]
)


@given(st.lists(st.text(max_size=8) | PIECES, max_size=12).map("".join))
def test_no_console_is_an_error_and_no_key_is_made_up(text: str) -> None:
    for found in parse_host_keys(text):
        kind, data = found.split(" ")
        assert base64.b64decode(data).startswith(field(kind.encode()))
        assert found in KEYS


@given(st.sampled_from(KEYS), st.integers(0, 2**20))
def test_a_changed_key_is_still_of_its_type_or_none(whole: str, position: int) -> None:
    place = position % len(whole)
    changed = f"{whole[:place]}A{whole[place + 1 :]}"
    for found in parse_host_keys(f"lab-host-key: {changed}\n"):
        kind, data = found.split(" ")
        assert base64.b64decode(data).startswith(field(kind.encode()))


def test_keys_are_kept_once_they_are_all_told(node: NodeDirectory) -> None:
    assert collect_host_keys(node) == []
    for size in range(len(TOLD) + 1):
        node.console.write_text(TOLD[:size])
        found = collect_host_keys(node)
        if found:
            assert found[0] == ED25519
            assert size > TOLD.index("\n")
            break
        assert not node.host_keys.exists()
    else:
        pytest.fail("the keys were never found")


def test_other_keys_alone_are_not_enough(node: NodeDirectory) -> None:
    node.console.write_text(f"lab-host-key: {RSA}\n")
    assert collect_host_keys(node) == []


def test_a_known_key_is_never_replaced(node: NodeDirectory) -> None:
    node.console.write_text(TOLD)
    assert collect_host_keys(node) == KEYS
    node.console.write_text(f"lab-host-key: {OTHER_ED25519}\n")
    assert collect_host_keys(node) == KEYS
    assert node.host_keys.read_text().splitlines() == KEYS


def test_bytes_that_are_no_text(node: NodeDirectory) -> None:
    node.console.write_bytes(b"\xff\xfe\0" + TOLD.encode() + b"\xff")
    assert collect_host_keys(node) == KEYS


def test_ssh_knows_every_node_by_name_and_address(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path)
    write_known_hosts(directory, PLAN)
    assert directory.known_hosts.read_text() == ""
    node1 = directory.node("node1")
    node1.path.mkdir(parents=True)
    node1.host_keys.write_text(f"{ED25519}\n{RSA}\n")
    write_known_hosts(directory, PLAN)
    assert directory.known_hosts.read_text() == (
        f"node1,10.77.0.11 {ED25519}\nnode1,10.77.0.11 {RSA}\n"
    )
    for name in ("node1", "10.77.0.11"):
        command = ["ssh-keygen", "-F", name, "-f", directory.known_hosts]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert ED25519 in found
    assert directory.known_hosts.stat().st_mode & 0o777 == 0o644

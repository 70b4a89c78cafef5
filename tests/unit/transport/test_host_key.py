"""Host keys, their fingerprints, and known_hosts files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import InvalidInput
from beowulf.transport.host_key import (
    HostKey,
    KnownHosts,
    parse_fingerprint,
    parse_host_key,
    read_known_hosts,
)

ONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFeAoiggZ+s20hb/mt7GkxDNV54ngWrHveHxuXMFgmoV"
TWO = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGeAoiggZ+s20hb/mt7GkxDNV54ngWrHveHxuXMFgmoV"
KEY, OTHER = parse_host_key(ONE), parse_host_key(TWO)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_fingerprints_are_those_of_openssh(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    public = path.with_suffix(".pub")
    printed = subprocess.run(
        ["ssh-keygen", "-lf", public], capture_output=True, text=True, check=True
    )
    key = parse_host_key(public.read_text())
    assert key.fingerprint == printed.stdout.split()[1]
    assert parse_fingerprint(key.fingerprint) == key.fingerprint
    assert parse_fingerprint(key.fingerprint.removeprefix("SHA256:")) == key.fingerprint
    assert public.read_text().startswith(f"{key} ")


@pytest.mark.parametrize(
    "text",
    ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa " + ONE.split()[1], "x y z", "é é",
     "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^host_key: "):
        parse_host_key(text)


@pytest.mark.parametrize("text", ["", "SHA256:", "SHA256:abc", "MD5:aa:bb", "x" * 43 + "!", "é"])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^--fingerprint: .* ssh-keygen -lf"):
        parse_fingerprint(text)


@pytest.mark.parametrize(
    ("field", "name", "meant"),
    [
        ("head", "head", True),
        ("head", "Head", True),
        ("head", "head2", False),
        ("10.0.0.1,head", "head", True),
        ("[head]:2222", "[head]:2222", True),
        ("head", "[head]:2222", False),
        ("[head]:2222", "head", False),
        ("*.example.org", "head.example.org", True),
        ("*.example.org", "example.org", False),
        ("node?", "node1", True),
        ("*,!head", "head", False),
        ("[h]ead", "head", False),
    ],
)
def test_names_in_known_hosts(field: str, name: str, *, meant: bool) -> None:
    assert read_known_hosts(f"{field} {ONE} a comment\n", name).trusted == ((KEY,) if meant else ())


def test_hashed_names_are_those_that_openssh_writes(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"head {ONE}\n[head]:2222 {TWO}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    text = path.read_text()
    assert "head" not in text
    assert read_known_hosts(text, "head").trusted == (KEY,)
    assert read_known_hosts(text, "[head]:2222").trusted == (OTHER,)
    assert read_known_hosts(text, "other") == KnownHosts()


def test_markers_make_nobody_trusted() -> None:
    text = f"@cert-authority * {ONE}\n@revoked head {TWO}\n# head {ONE}\n"
    assert read_known_hosts(text, "head") == KnownHosts((), (OTHER,))


@given(st.text())
def test_a_damaged_file_makes_nobody_trusted(text: str) -> None:
    found = read_known_hosts(text, "head").trusted
    assert all(isinstance(key, HostKey) and key.kind in text for key in found)

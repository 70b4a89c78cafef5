"""An image with a secret in it is not made, whatever package brought the secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from beowulf.lab.image.secrets import SECRET_PLACES, secrets_in

KEY = "-----BEGIN {} PRIVATE KEY-----\nMIIB\n-----END {} PRIVATE KEY-----\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree as it should be."""
    files = {
        "etc/machine-id": "",
        "etc/shadow": "root:*:20779:0:99999:7:::\nsshd:!*:20779::::::\nmunge:!:20779::::::\n",
        "etc/gshadow": "root:*::\nadm:::\n_ssh:!::\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
        "etc/chrony/chrony.keys": "# 1 MD5 AVeryLongAndRandomPassword\n\n",
        "etc/ssl/certs/authority.pem": "-----BEGIN CERTIFICATE-----\nMIIB\n",
        "usr/share/doc/openssl/example.pem": KEY.format("RSA", "RSA"),
        "usr/bin/script": "echo '-----BEGIN PRIVATE KEY-----'\n",
        "var/cache/debconf/passwords.dat": "",
    }
    for name, text in files.items():
        write(tmp_path / name, text)
    (tmp_path / "etc/localtime").symlink_to("/nowhere/at/all")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_tree_as_it_should_be_has_none(tree: Path) -> None:
    assert secrets_in(tree) == []


@pytest.mark.parametrize("kind", ["OPENSSH", "RSA", "EC", "ENCRYPTED"])
@pytest.mark.parametrize(
    "place", ["etc/ssh/ssh_host_ed25519_key", "etc/ssl/private/snakeoil.key", "root/old/backup"]
)
def test_a_private_key_is_found_wherever_it_lies(tree: Path, place: str, kind: str) -> None:
    write(tree / place, f"# made today\n{KEY.format(kind, kind)}")
    assert secrets_in(tree) == [f"/{place}: a private key"]


def test_a_private_key_without_an_algorithm_is_found(tree: Path) -> None:
    write(tree / "srv/key.pem", "-----BEGIN PRIVATE KEY-----\nMIIB\n")
    assert secrets_in(tree) == ["/srv/key.pem: a private key"]


@pytest.mark.parametrize("place", SECRET_PLACES)
def test_a_file_that_is_a_secret_by_its_place_is_named(tree: Path, place: str) -> None:
    write(tree / place, "0123456789abcdef\n")
    assert secrets_in(tree) == [f"/{place}: every node would have the same"]


def test_a_key_of_the_time_server_is_told_from_a_comment(tree: Path) -> None:
    write(tree / "etc/chrony/chrony.keys", "# keys\n1 SHA1 HEX:0011\n")
    assert secrets_in(tree) == ["/etc/chrony/chrony.keys: a key"]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("etc/shadow", "admin:$y$j9T$salt$hash:20779:0:99999:7:::"),
        ("etc/shadow", "admin:!$y$j9T$salt$hash:20779:0:99999:7:::"),
        ("etc/shadow", "admin::20779:0:99999:7:::"),
        ("etc/shadow-", "admin:$6$salt$hash:20779:0:99999:7:::"),
        ("etc/gshadow", "admin:$6$salt$hash::"),
        ("etc/passwd", "admin:$1$salt$hash:1000:1000::/home/admin:/bin/bash"),
        ("etc/passwd", "admin::1000:1000::/home/admin:/bin/bash"),
    ],
)
def test_an_account_that_a_password_opens_is_named(tree: Path, place: str, line: str) -> None:
    with (tree / place).open("a") as file:
        file.write(f"{line}\n")
    assert secrets_in(tree) == [f"/{place}: admin has a password, or needs none"]


def test_a_link_is_not_followed_out_of_the_tree(tree: Path) -> None:
    outside = tree.parent / f"{tree.name}-outside"
    write(outside / "id", KEY.format("RSA", "RSA"))
    (tree / "srv").mkdir()
    (tree / "srv/link").symlink_to(outside)
    assert secrets_in(tree) == []

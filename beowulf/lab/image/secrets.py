"""Look for secrets in a tree that every node would share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGINNING = b"-----BEGIN "
LONGEST_KEY_BYTES = 64 * 1024
# Files that hold a secret, or a number that tells machines apart, if they hold anything.
SECRET_PLACES = (
    "etc/machine-id",
    "etc/munge/munge.key",
    "etc/slurm/jwt_hs256.key",
    "etc/krb5.keytab",
    "root/.my.cnf",
    "root/.ssh/authorized_keys",
    "home/admin/.ssh/authorized_keys",
    "var/cache/debconf/passwords.dat",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
)
# Where packages put programs and documentation, and what the kernel shows: nothing is
# generated there.
NOT_GENERATED = {
    "usr/bin", "usr/include", "usr/lib", "usr/lib64", "usr/libexec", "usr/sbin", "usr/share",
    "proc", "sys", "dev",
}  # fmt: skip
ACCOUNTS = ("shadow", "shadow-", "gshadow", "gshadow-", "passwd", "passwd-")


def secrets_in(tree: Path) -> list[str]:
    """Return each secret in a tree as a line: its file, and what is wrong. Best is none."""
    return [*_places(tree), *_private_keys(tree), *_passwords(tree)]


def _places(tree: Path) -> Iterator[str]:
    for place in SECRET_PLACES:
        path = tree / place
        if path.is_file() and path.stat().st_size > 0:
            yield f"/{place}: every node would have the same"
    chrony = tree / "etc/chrony/chrony.keys"  # Debian ships it with comments only
    lines = chrony.read_text().splitlines() if chrony.is_file() else []
    if any(line.strip() and not line.startswith("#") for line in lines):
        yield "/etc/chrony/chrony.keys: a key"


def _private_keys(tree: Path) -> Iterator[str]:
    for path in _generated(tree):
        if path.stat().st_size <= LONGEST_KEY_BYTES and _has_private_key(path.read_bytes()):
            yield f"/{path.relative_to(tree)}: a private key"


def _has_private_key(content: bytes) -> bool:
    lines = content.splitlines() if BEGINNING in content else []
    return any(line.startswith(BEGINNING) and b"PRIVATE KEY" in line for line in lines)


def _generated(tree: Path) -> Iterator[Path]:
    """Yield every regular file of a tree that a package may have made while it was installed."""
    waiting = [tree]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if path.is_symlink() or str(path.relative_to(tree)) in NOT_GENERATED:
                continue
            if path.is_dir():
                waiting.append(path)
            elif path.is_file():
                yield path


def _passwords(tree: Path) -> Iterator[str]:
    for name in ACCOUNTS:
        path = tree / "etc" / name
        for line in path.read_text().splitlines() if path.is_file() else ():
            account, _, rest = line.partition(":")
            if _lets_in(name.rstrip("-"), rest.partition(":")[0]):
                yield f"/etc/{name}: {account} has a password, or needs none"


def _lets_in(file: str, field: str) -> bool:
    """Tell whether the second field of an account's line holds a password or wants none.

    In ``passwd``, an ``x`` points to ``shadow``. A group may do without a password.
    """
    allowed = {
        "shadow": {"*", "!", "!*", "!!"},
        "gshadow": {"*", "!", "!*", "!!", ""},
        "passwd": {"x", "*", "!"},
    }
    return field not in allowed[file]

"""Look for secrets in a tree that every node would share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGINNING = b"-----BEGIN "
LONGEST_KEY = 64 * 1024
SECRET_PLACES = (
    "etc/munge/munge.key",
    "etc/slurm/jwt_hs256.key",
    "etc/chrony/chrony.keys",
    "etc/krb5.keytab",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/dbus/machine-id",
    "root/.ssh/authorized_keys",
    "root/.my.cnf",
)
# Where programs and their documentation live; nothing is generated there.
SHIPPED = ("usr/bin", "usr/lib", "usr/sbin", "usr/share", "usr/include", "proc", "sys", "dev")


def secrets_in(tree: Path) -> list[str]:
    """Return, in words, each secret in a tree: a file's path and what is in it. Best is none."""
    return [*_files(tree), *_private_keys(tree), *_passwords(tree)]


def _files(tree: Path) -> Iterator[str]:
    for place in SECRET_PLACES:
        if (tree / place).exists():
            yield f"/{place}: every node would share it"
    if (tree / "etc/machine-id").exists() and (tree / "etc/machine-id").read_bytes().strip():
        yield "/etc/machine-id: every node would have the same"


def _private_keys(tree: Path) -> Iterator[str]:
    for path in _own_files(tree):
        if path.stat().st_size > LONGEST_KEY:
            continue
        for line in path.read_bytes().splitlines():
            if line.startswith(BEGINNING) and b"PRIVATE KEY" in line:
                yield f"/{path.relative_to(tree)}: a private key"
                break


def _own_files(tree: Path) -> Iterator[Path]:
    """Yield every regular file of a tree that no package merely ships."""
    waiting = [tree]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if path.is_symlink() or str(path.relative_to(tree)) in SHIPPED:
                continue
            if path.is_dir():
                waiting.append(path)
            elif path.is_file():
                yield path


def _passwords(tree: Path) -> Iterator[str]:
    for name in ("shadow", "shadow-", "gshadow", "gshadow-", "passwd", "passwd-"):
        path = tree / "etc" / name
        for line in path.read_text().splitlines() if path.exists() else ():
            user, _, rest = line.partition(":")
            password = rest.partition(":")[0]
            if "shadow" not in name and password != "x":
                yield f"/etc/{name}: {user} has no entry in the shadow file"
            elif name.startswith("shadow") and not password.startswith(("*", "!")):
                yield f"/etc/{name}: {user} has a password, or needs none"
            elif len(password.lstrip("!*")) > 1 and "shadow" in name:
                yield f"/etc/{name}: {user} has a password"

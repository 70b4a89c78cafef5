"""Fetch the source of Linux as Debian has it: a package, checked as every other one is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import LabError
from beowulf.transport.local import run

if TYPE_CHECKING:
    from collections.abc import Iterable

SUITE = "trixie-backports"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TRIED = "7.2"  # which the options were tried with: it is taken as long as Debian has it
OLDEST = (6, 16)  # "um: Implement kernel side of SECCOMP based process handling"
PACKAGE = re.compile(r"linux-source-(\d+)\.(\d+)")
FETCH_TIMEOUT_S = 900
SETTINGS = """\
Dir "{home}";
Dir::State::status "{home}/status";
Dir::Etc::SourceList "{home}/sources.list";
Dir::Bin::Methods "/usr/lib/apt/methods";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Proxy "http://127.0.0.1:{port}";
"""
FOLDERS = (
    "var/lib/apt/lists/partial", "var/cache/apt/archives/partial",
    "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A package that holds the source of Linux: its name, its version, and where it lies."""

    package: str
    version: str
    archive: Path


def fetch_source(home: Path, place: str, port: int) -> Source:
    """Fetch the newest package of a kernel's source into ``home``, an empty folder.

    ``place`` is a Debian mirror, asked through the proxy on ``port`` of this computer. What
    this computer's own apt knows is neither used nor changed.

    Raises:
        LabError: Debian's keys are not installed here, or the mirror has no such package.
        CommandFailed: apt could not fetch it.
    """
    if not KEYRING.exists():
        raise LabError(f"{KEYRING}: not here; type: apt-get install debian-archive-keyring")
    for folder in FOLDERS:
        (home / folder).mkdir(parents=True)
    (home / "status").touch()
    (home / "sources.list").write_text(f"deb [signed-by={KEYRING}] {place} {SUITE} main\n")
    settings = home / "apt.conf"
    settings.write_text(SETTINGS.format(home=home, port=port))
    apt = {"APT_CONFIG": str(settings)}
    run(["apt-get", "-q", "update"], environment=apt, timeout_s=FETCH_TIMEOUT_S)
    known = run(["apt-cache", "pkgnames", "linux-source-"], environment=apt).output.split()
    package = chosen(known)
    if package is None:
        oldest = ".".join(map(str, OLDEST))
        raise LabError(f"{place} {SUITE}: no source of Linux {oldest} or newer is there")
    # apt-get download writes into the directory that it is started in.
    fetch = ["env", f"--chdir={home}", "apt-get", "-q", "download", package]
    run(fetch, environment=apt, timeout_s=FETCH_TIMEOUT_S)
    archive = next(home.glob(f"{package}_*.deb"))
    version = run(["dpkg-deb", "--field", archive, "Version"]).output.strip()
    return Source(package, version, archive)


def chosen(names: Iterable[str]) -> str | None:
    """Return the package to take: the tried one, else the newest that can do what is needed."""
    found = {
        (int(name[1]), int(name[2])): name[0] for name in map(PACKAGE.fullmatch, names) if name
    }
    new = {version: name for version, name in found.items() if version >= OLDEST}
    tried = f"linux-source-{TRIED}"
    return tried if tried in new.values() else new[max(new)] if new else None

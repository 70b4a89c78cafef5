"""Find where this computer gets Debian's packages from, and name the same place for the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from beowulf.errors import CommandFailed, LabError
from beowulf.transport.local import run

if TYPE_CHECKING:
    from collections.abc import Iterable

SUITE = "trixie"
FIELDS = "$(ORIGIN)\t$(CODENAME)\t$(REPO_URI)"


@dataclass(frozen=True)
class Mirrors:
    """Lines of a sources.list, and with them every host that packages come from."""

    sources: tuple[str, ...]

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every mirror, each once, sorted."""
        found = set()
        for line in self.sources:
            url = urlsplit(line.split()[1])
            found.add((url.hostname or "", url.port or 80))
        return tuple(sorted(found))


def find_mirrors(suite: str = SUITE) -> Mirrors:
    """Return the sources of ``suite`` on the mirrors that this computer's own apt uses.

    A computer whose apt knows no Debian mirror gets the ones that mmdebstrap would
    choose by itself.

    Raises:
        LabError: mmdebstrap is not installed or named no mirror either.
    """
    try:
        targets = run(["apt-get", "indextargets", "--format", FIELDS, "Created-By: Packages"])
        known = sources_on(targets.output, suite)
    except CommandFailed:
        known = ()
    return Mirrors(known or _default_sources(suite))


def sources_on(targets: str, suite: str) -> tuple[str, ...]:
    """Return the lines for ``suite`` on the mirrors that ``apt-get indextargets`` listed.

    ``targets`` has one line per index: origin, code name and address, with tabs
    between. Mirrors are asked over plain HTTP, whatever this computer's apt does:
    only so can a proxy keep the packages, and apt checks signatures, not the wire.
    """
    places: dict[str, str] = {}
    for line in targets.splitlines():
        origin, _, rest = line.partition("\t")
        codename, _, uri = rest.partition("\t")
        url = urlsplit(uri.strip())
        if origin != "Debian" or url.scheme not in {"http", "https"} or not url.hostname:
            continue
        if url.scheme == "https" and url.port is not None:
            continue  # nobody can know which port speaks plain HTTP there
        kind = "-security" if codename.endswith("-security") else ""
        host = url.netloc.rpartition("@")[2]  # a password stays on this computer
        places.setdefault(kind, f"http://{host}{url.path.rstrip('/')}")
    if "" not in places:
        return ()
    found = [("", places[""]), ("-updates", places[""])]
    if "-security" in places:
        found.append(("-security", places["-security"]))
    return tuple(f"deb {place} {suite}{kind} main" for kind, place in found)


def _default_sources(suite: str) -> tuple[str, ...]:
    """Return the sources that mmdebstrap would write, without letting it fetch anything."""
    stop = 'cat "$1"/etc/apt/sources.list >&2; exit 1'
    options = ["--mode=root", "--variant=custom", "--format=null", f"--setup-hook={stop}"]
    try:
        printed = run(["mmdebstrap", *options, suite, "-"], check=False).errors
    except CommandFailed as error:
        raise LabError(f"{error}; type: apt-get install mmdebstrap") from None
    found = plain_sources(printed.splitlines())
    if not found:
        raise LabError(
            "no Debian mirror is known to this computer's apt, nor to mmdebstrap; "
            "add one to /etc/apt/sources.list"
        )
    return found


def plain_sources(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the ``deb http://`` lines among ``lines``."""
    return tuple(line.strip() for line in lines if line.startswith("deb http://"))

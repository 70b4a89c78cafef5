"""The client's configuration: which clusters there are, how to reach them, which is the default.

::

    default = "lab"

    [clusters.lab]
    host = "10.77.0.10"     # may be an alias of ~/.ssh/config; "local": this computer is the head
    user = "ada"            # optional, like port: ssh's own configuration says else
    port = 22
    host_key = "ssh-ed25519 AAAA..."
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beowulf.durable import write_file
from beowulf.errors import ClusterNotFound, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
LOCAL = "local"  # the cluster of this name is none: jobs run on this computer
VARIABLE = "BEOWULF_CLUSTER"
MOST_BYTES = 1 << 20

HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,254}")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}\$?")
HOST_KEY = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class ClusterEntry:
    """How to reach one cluster's head. What is None is ssh's configuration to say."""

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    host_key: str | None = None


@dataclass(frozen=True)
class Configuration:
    """The clusters that a person has added, by name, and which one is meant when none is named."""

    clusters: Mapping[str, ClusterEntry] = field(default_factory=dict)
    default: str | None = None

    def having(self, entry: ClusterEntry) -> Configuration:
        """Return it with a cluster more, or another one of the same name. The first is default."""
        clusters = {**self.clusters, entry.name: entry}
        return Configuration(clusters, self.default if self.clusters else entry.name)

    def without(self, name: str) -> Configuration:
        """Return it without a cluster. If that was the default, none is.

        Raises:
            ClusterNotFound: There is no such cluster.
        """
        self.entry(name)
        kept = {key: entry for key, entry in self.clusters.items() if key != name}
        return Configuration(kept, None if self.default == name else self.default)

    def with_default(self, name: str) -> Configuration:
        """Return it with another default; ``local`` for none: jobs run on this computer.

        Raises:
            ClusterNotFound: There is no such cluster.
        """
        if name != LOCAL:
            self.entry(name)
        return replace(self, default=None if name == LOCAL else name)

    def entry(self, name: str) -> ClusterEntry:
        """Return a cluster.

        Raises:
            ClusterNotFound: There is none of this name; says which there are.
        """
        if name not in self.clusters:
            known = ", ".join(sorted(self.clusters))
            remedy = (
                f"there are: {known}" if known else "add it: beowulf cluster add NAME USER@HOST"
            )
            raise ClusterNotFound(f"no cluster is called {name[:60]!r}; {remedy}")
        return self.clusters[name]


def configuration_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the configuration is: ``$XDG_CONFIG_HOME/beowulf/config.toml``."""
    base = environ.get("XDG_CONFIG_HOME", "")
    # The specification has a path that is not absolute ignored.
    home = Path(base) if base.startswith("/") else Path("~/.config").expanduser()
    return home / "beowulf" / "config.toml"


def choose(
    configuration: Configuration, flag: str | None, environ: Mapping[str, str]
) -> ClusterEntry | None:
    """Return the cluster that is meant: the flag's, the environment's, the default; None is local.

    Raises:
        ClusterNotFound: There is none of this name.
    """
    name = flag or environ.get(VARIABLE) or configuration.default or LOCAL
    return None if name == LOCAL else configuration.entry(name)


def read_configuration(path: Path | None = None) -> Configuration:
    """Read the configuration; without a file there are no clusters.

    Raises:
        InvalidInput: The file cannot be read, or a field of it is wrong; names both.
    """
    import tomllib  # noqa: PLC0415 - slow to import, and without a file not needed

    path = path or configuration_path()
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise InvalidInput(
                str(path), "it is larger than 1 MB", "it is not beowulf's: remove it"
            )
        document = tomllib.loads(data.decode())
    except FileNotFoundError:
        return Configuration()
    except OSError as error:
        raise InvalidInput(
            str(path), error.strerror or str(error), "make it a file that you may read"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(str(path), f"it is no TOML: {error}", "correct or remove it") from None
    return parse_configuration(document, str(path))


def parse_configuration(document: Mapping[str, Any], path: str) -> Configuration:
    """Check what a configuration file says; ``path`` is named in refusals.

    Raises:
        InvalidInput: A field is wrong, or not known.
    """
    _refuse_unknown(document, {"default", "clusters"}, path, "")
    tables = document.get("clusters", {})
    if not isinstance(tables, dict):
        raise InvalidInput(f"{path}: clusters", "it is no table", "write [clusters.NAME]")
    clusters = {name: _entry(name, table, path) for name, table in tables.items()}
    default = document.get("default")
    if default == LOCAL:
        default = None
    if default is not None and (not isinstance(default, str) or default not in clusters):
        raise InvalidInput(
            f"{path}: default", f"{str(default)[:60]!r} is none of its clusters",
            "name one of them, or remove the line",
        )  # fmt: skip
    return Configuration(clusters, default)


def _entry(name: str, table: Any, path: str) -> ClusterEntry:
    """Check one ``[clusters.NAME]``."""
    check_name(name, f"{path}: clusters")
    where = f"{path}: clusters.{name}"
    if not isinstance(table, dict):
        raise InvalidInput(where, "it is no table", f"write [clusters.{name}]")
    _refuse_unknown(table, {"host", "user", "port", "host_key"}, path, f"clusters.{name}.")
    host = _text(table, "host", HOST, where)
    if host is None:
        raise InvalidInput(f"{where}.host", "it is missing", f"name {name}'s head")
    port = table.get("port")
    if port is not None and (type(port) is not int or not 1 <= port <= 65_535):
        raise InvalidInput(f"{where}.port", f"{str(port)[:20]} is no port", "write 1 to 65535")
    user = _text(table, "user", USER, where)
    return ClusterEntry(name, host, user, port, _text(table, "host_key", HOST_KEY, where))


def _text(table: Mapping[str, Any], key: str, pattern: re.Pattern[str], where: str) -> str | None:
    value = table.get(key)
    if value is None or (isinstance(value, str) and pattern.fullmatch(value)):
        return value
    raise InvalidInput(
        f"{where}.{key}",
        f"{str(value)[:60]!r} can't be right",
        "correct it, or add the cluster anew",
    )


def _refuse_unknown(table: Mapping[str, Any], known: set[str], path: str, prefix: str) -> None:
    for key in table:
        if key not in known:
            raise InvalidInput(
                f"{path}: {prefix}{key[:60]}", "there is no such field",
                f"remove it; there are: {', '.join(sorted(known))}",
            )  # fmt: skip


def check_name(name: str, field_name: str = "NAME") -> None:
    """Refuse what cannot be a cluster's name.

    Raises:
        InvalidInput: It is reserved, or has other characters than small letters, digits and -.
    """
    if name == LOCAL:
        raise InvalidInput(field_name, f"{LOCAL} means this computer", "choose another name")
    if not NAME.fullmatch(name):
        raise InvalidInput(
            field_name, f"{name[:60]!r} is no name for a cluster",
            "take up to 32 small letters, digits and hyphens",
        )  # fmt: skip


def write_configuration(configuration: Configuration, path: Path | None = None) -> None:
    """Replace the configuration file, whole or not at all. Only its owner may read it.

    Raises:
        InvalidInput: It cannot be written there.
    """
    import tomli_w  # noqa: PLC0415 - slow to import, and written seldom

    path = path or configuration_path()
    document: dict[str, Any] = {"default": configuration.default} if configuration.default else {}
    document["clusters"] = {
        name: {
            key: value for key, value in vars(entry).items() if key != "name" and value is not None
        }
        for name, entry in configuration.clusters.items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(path, tomli_w.dumps(document).encode())
    except OSError as error:
        raise InvalidInput(
            str(path), error.strerror or str(error), "make its directory one that you may write to"
        ) from None

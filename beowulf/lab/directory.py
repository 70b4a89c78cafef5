"""Where a lab keeps its files: one class owns every name.

::

    /var/lib/beowulf/labs/NAME/
        lab.json           the plan (machines, subnet), the image, the proxy's port
        lock               held by whoever changes the lab as a whole
        id_ed25519(.pub)   the lab's own key, made here, for its user ``admin``
        known_hosts        the host keys that the nodes told on their consoles
        ssh_config         how to reach every node
        keeper.json, .log  the process that relays packages and listens for magic packets
        nodes/NODE/        disk.cow  console.log  host_keys  process.json  lock
        run/NODE/          User-Mode Linux's management console
        measured/          what the playbooks found out about the nodes
        snapshots/NAME/    snapshot.json  NODE.cow  NODE.host_keys  measured/
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT = "lab"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# User-Mode Linux splits its command line at blanks and its disk's names at , and :, and
# ssh reads quotes, % and $ in its configuration.
PLAIN = re.compile(r"/[\w/.@+=-]*")
LONGEST_SOCKET = 107  # bytes in the path of a Unix socket


def state_directory() -> Path:
    """Return where labs live: ``$BEOWULF_LAB_STATE_DIR`` or ``/var/lib/beowulf``."""
    return _directory("BEOWULF_LAB_STATE_DIR", "/var/lib/beowulf")


def cache_directory() -> Path:
    """Return where images and packages live: ``$BEOWULF_LAB_CACHE_DIR`` or the system's cache."""
    return _directory("BEOWULF_LAB_CACHE_DIR", "/var/cache/beowulf")


def _directory(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable) or default)
    if not PLAIN.fullmatch(str(path)):
        raise InvalidInput(
            variable,
            f"{path} cannot hold a lab",
            "name an absolute path of letters, digits and . _ - + = @",
        )
    return path


@dataclass(frozen=True)
class NodeDirectory:
    """The files of one node."""

    path: Path

    @property
    def disk(self) -> Path:
        """What the node changed of the image, as a copy-on-write file."""
        return self.path / "disk.cow"

    @property
    def console(self) -> Path:
        """What the node printed on its console since it was last switched on."""
        return self.path / "console.log"

    @property
    def host_keys(self) -> Path:
        """The public host keys that the node told on its console."""
        return self.path / "host_keys"

    @property
    def process(self) -> Path:
        """Which process the node is, if it is on."""
        return self.path / "process.json"

    @property
    def lock(self) -> Path:
        """Held by whoever switches the node on or off."""
        return self.path / "lock"


@dataclass(frozen=True)
class LabDirectory:
    """The files of one lab."""

    path: Path

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.path.name

    def command(self, words: str) -> str:
        """Return what to type to do something with this lab, for messages."""
        option = "" if self.name == DEFAULT else f" --lab {self.name}"
        return f"beowulf lab {words}{option}"

    @property
    def settings(self) -> Path:
        """The plan, the image and the proxy's port."""
        return self.path / "lab.json"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the lab as a whole, from before it is there until it is gone."""
        return self.path.parent / f".{self.path.name}.lock"

    @property
    def identity(self) -> Path:
        """The lab's private key; the public one has ``.pub`` behind it."""
        return self.path / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host keys of all nodes, as ssh reads them."""
        return self.path / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """How ssh reaches every node."""
        return self.path / "ssh_config"

    @property
    def keeper(self) -> Path:
        """Which process keeps the lab."""
        return self.path / "keeper.json"

    @property
    def keeper_log(self) -> Path:
        """What the keeper did."""
        return self.path / "keeper.log"

    @property
    def consoles(self) -> Path:
        """Where User-Mode Linux puts its management consoles."""
        return self.path / "run"

    def management_console(self, node: str) -> Path:
        """Return the socket on which a node takes orders from its computer."""
        return self.consoles / node / "mconsole"

    @property
    def measured(self) -> Path:
        """What the playbooks remember of the nodes, as inventory/lab tells them."""
        return self.path / "measured"

    @property
    def snapshots(self) -> Path:
        """The snapshots, a directory each."""
        return self.path / "snapshots"

    @property
    def nodes(self) -> Path:
        """The nodes, a directory each."""
        return self.path / "nodes"

    def node(self, name: str) -> NodeDirectory:
        """Return the files of one node."""
        return NodeDirectory(self.nodes / name)


def lab_directory(name: str) -> LabDirectory:
    """Return the files of the lab with this name, be it there or not.

    Raises:
        InvalidInput: This can be no lab's name.
    """
    check_name("--lab", name)
    directory = LabDirectory(state_directory() / "labs" / name)
    check_room(directory, ["node1"])
    return directory


def check_room(directory: LabDirectory, nodes: Iterable[str]) -> None:
    """Refuse names that are too long together to name sockets.

    Raises:
        InvalidInput: A node's management console would have too long a path.
    """
    for node in nodes:
        if len(os.fsencode(directory.management_console(node))) > LONGEST_SOCKET:
            raise InvalidInput(
                "--lab",
                f"{directory.path} is too long a path for a node named {node}",
                "choose a shorter name, or another BEOWULF_LAB_STATE_DIR",
            )


def lab_names() -> list[str]:
    """Return the names of all labs there are on this computer."""
    try:
        found = sorted((state_directory() / "labs").iterdir())
    except OSError:
        return []
    return [path.name for path in found if path.is_dir() and NAME.fullmatch(path.name)]


def check_name(field: str, name: str) -> None:
    """Refuse what can be no lab's or snapshot's name.

    Raises:
        InvalidInput: The name has other characters than it may.
    """
    if not NAME.fullmatch(name):
        raise InvalidInput(
            field, f"{name!r} is no name", "use up to 31 small letters, digits and dashes"
        )

"""A person with an ssh configuration and a key, and servers that let them in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from beowulf.transport.ssh import SshConnection
from beowulf.transport.ssh_config import Address
from beowulf.transport.ssh_transport import Timeouts
from tests.unit.transport.ssh_server import USER, Server, serving, write_key

PATIENCE = Timeouts(connect_s=30, silence_s=60)


@dataclass
class Person:
    """A person's ssh configuration, known_hosts, and one key."""

    directory: Path
    key: bytes

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def identity(self) -> Path:
        return self.directory / "id_ed25519"

    def configure(self, text: str = "", identity: Path | None = None) -> None:
        """Write the configuration; what the hosts have in common stands at its end."""
        (self.directory / "config").write_text(
            f"{text}\nHost *\n    User {USER}\n    IdentityFile {identity or self.identity}\n"
            f"    IdentitiesOnly yes\n    UserKnownHostsFile {self.known_hosts}\n"
            f"    GlobalKnownHostsFile none\n"
        )

    def knows(self, server: Server, key: object = None) -> None:
        """Write a server's host key to known_hosts, or another one."""
        with self.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{server.port} {key or server.key}\n")


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    directory = tmp_path / "ssh"
    directory.mkdir()
    person = Person(directory, write_key(directory / "id_ed25519"))
    person.configure()
    monkeypatch.setenv("BEOWULF_SSH_CONFIG", str(directory / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return person


def new_host_key(path: Path) -> paramiko.PKey:
    """Make a host key."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return paramiko.Ed25519Key.from_private_key_file(str(path))


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path, person: Person) -> Iterator[Serve]:
    """Return a function that starts a server which lets the person in."""
    with contextlib.ExitStack() as servers:
        number = iter(range(100))

        def start(port: int = 0, **settings: Any) -> Server:
            host_key = new_host_key(tmp_path / f"host_key{next(number)}")
            server = Server(host_key, **{"lets_in": [person.key], **settings})
            return servers.enter_context(serving(server, port))

        yield start


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()


Connect = Callable[..., SshConnection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that makes connections to a server; they are closed in the end."""
    with contextlib.ExitStack() as connections:

        def make(
            server: Server, *, user: str | None = None, pinned: str | None = "its own", **more: Any
        ) -> SshConnection:
            key = str(server.key) if pinned == "its own" else pinned
            address = Address("127.0.0.1", user, server.port)
            settings: dict[str, Any] = {"timeouts": PATIENCE, **more}
            connection = SshConnection(address, key, cluster="lab", **settings)
            connections.callback(connection.close)
            return connection

        yield make

"""Open the way to a cluster's head, which may be this computer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from beowulf.transport.local import LocalConnection

if TYPE_CHECKING:
    from beowulf.transport.connection import Connection

THIS_COMPUTER = "local"


class Head(Protocol):
    """What is to be known of a cluster's head: an entry of the client's configuration."""

    @property
    def name(self) -> str:
        """The cluster's name."""

    @property
    def host(self) -> str:
        """The head, as the person calls it; ``local`` is this computer."""

    @property
    def user(self) -> str | None:
        """The user there, unless ssh's configuration is to say."""

    @property
    def port(self) -> int | None:
        """The port, likewise."""

    @property
    def host_key(self) -> str | None:
        """The host key that was pinned."""


def connect(head: Head) -> Connection:
    """Return the way to a cluster's head. Nothing is opened before the first command.

    Raises:
        InvalidInput: The pinned host key is none.
    """
    if head.host == THIS_COMPUTER:
        return LocalConnection()
    from beowulf.transport.ssh import SshConnection  # noqa: PLC0415 - not on the head itself
    from beowulf.transport.ssh_config import Address  # noqa: PLC0415

    address = Address(head.host, head.user, head.port)
    return SshConnection(address, head.host_key, cluster=head.name)

"""What a way to a computer is: whom to trust, what it is opened with, and the way itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import paramiko

    from beowulf.transport.host_key import HostKey
    from beowulf.transport.ssh_config import Address, HostSettings
    from beowulf.transport.ssh_transport import Timeouts

Ask = Callable[[str], str]
"""Asks a person for a passphrase, with these words."""


@contextlib.contextmanager
def closing(channel: paramiko.Channel) -> Iterator[paramiko.Channel]:
    """Close a channel in the end, whatever happened to the connection it goes over."""
    try:
        yield channel
    finally:
        close_channel(channel)


def close_channel(channel: paramiko.Channel) -> None:
    """Close a channel, although the connection it goes over may end at the same moment."""
    import paramiko  # noqa: PLC0415 - slow to import

    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        channel.close()


@dataclass(frozen=True)
class Trust:
    """Which host key is to be believed."""

    verify: Callable[[HostKey], None]
    """Raises HostKeyMismatch unless it is that one."""
    kinds: Sequence[str] = ()
    """The types of key to ask for first."""


@dataclass(frozen=True)
class Means:
    """What a way is opened with: patience, and somebody to ask for a passphrase."""

    timeouts: Timeouts
    ask: Ask | None


@dataclass
class Route:
    """A way to a computer whose host key was verified; nobody is logged in at its end yet."""

    name: str
    address: Address
    transport: paramiko.Transport
    settings: HostSettings
    parts: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def close(self) -> None:
        """Close the way, from its far end to the near one."""
        self.transport.close()
        self.parts.close()

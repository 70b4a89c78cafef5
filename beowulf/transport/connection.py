"""What every way to a computer offers: run a command to its end, or talk to one as it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.transport.local import Finished


class Conversation(Protocol):
    """A command that runs, with its standard input and output open. Use it in a ``with``.

    One thread may send while another receives.
    """

    def send(self, data: bytes) -> None:
        """Write ``data`` to the command's standard input.

        Raises:
            ConnectionLost: The command or the way to it is gone.
        """

    def end_input(self) -> None:
        """Close the command's standard input."""

    def receive(self, most: int = 65_536, timeout_s: float | None = None) -> bytes:
        """Return what it printed since, at most ``most`` bytes; none means that it has ended.

        Raises:
            ConnectionLost: The way to it is gone, or ``timeout_s`` seconds passed without a byte.
        """

    def finish(self, timeout_s: float = 10) -> Finished:
        """Wait for its end and return its exit status, with its standard error.

        Raises:
            ConnectionLost: It has not ended after ``timeout_s`` seconds, or the way is gone.
        """

    def close(self) -> None:
        """Let go of it, whether it has ended or not. It may go on without a reader."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, *exception: object) -> None:
        """Close it."""


class Connection(Protocol):
    """A way to run commands on one computer, as one user."""

    name: str
    """How messages call the computer: ``ada@head``, ``this computer``."""

    def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: str = "",
        timeout_s: float = 60,
        check: bool = True,
    ) -> Finished:
        """Run a command to its end and return what it printed.

        With ``check`` an exit status other than 0 is an error.

        Raises:
            CommandFailed: The program is not installed, failed, or took longer than
                ``timeout_s`` seconds.
            Unreachable, AuthenticationFailed, HostKeyMismatch: There is no way to the computer.
            ConnectionLost: It was there, and is gone.
        """

    def converse(self, arguments: Sequence[str]) -> Conversation:
        """Start a command and return it with its standard input and output open.

        Raises:
            CommandFailed: The program is not installed on this computer. On another
                computer its shell says so: exit status 127.
            Unreachable, AuthenticationFailed, HostKeyMismatch: There is no way to the computer.
        """

    def shell(self, arguments: Sequence[str]) -> int:
        """Run a command on this person's terminal and return its exit status.

        Raises:
            CommandFailed: There is no terminal here.
            Unreachable, AuthenticationFailed, HostKeyMismatch: There is no way to the computer.
        """

    def close(self) -> None:
        """End the connection. Another command opens a new one."""

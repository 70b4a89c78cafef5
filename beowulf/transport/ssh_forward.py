"""A port of this computer that leads to a port on the far side of an SSH connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

from beowulf.errors import BeowulfError, InvalidInput
from beowulf.transport.ssh_way import closing

if TYPE_CHECKING:
    from collections.abc import Callable

    import paramiko

PIECE_BYTES = 65_536
WAITING = 16


class Forward:
    """A port on 127.0.0.1 whose every connection is carried to the far side, until ``close``."""

    def __init__(
        self,
        port: int,
        open_channel: Callable[[], paramiko.Channel],
        target: str,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._open_channel = open_channel
        self._target = target
        self._report = report or (lambda _: None)
        self._opening = threading.Lock()
        try:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=WAITING)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise InvalidInput(
                "port", f"{port}: {why}", "choose another one on this side"
            ) from None
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="forward").start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # it was closed
                return
            threading.Thread(target=self._carry, args=[connection], daemon=True).start()

    def _carry(self, connection: socket.socket) -> None:
        with connection:
            try:
                with self._opening:  # the connection is opened anew by one of them
                    channel = self._open_channel()
            except BeowulfError as error:
                self._report(f"{self._target}: {error}")
                return
            with closing(channel):
                back = threading.Thread(
                    target=_pump, args=[channel.recv, connection.sendall, connection.shutdown],
                    daemon=True,
                )  # fmt: skip
                back.start()
                _pump(connection.recv, channel.sendall, channel.shutdown)
                back.join()

    def close(self) -> None:
        """Take no more connections. Those that there are go on until their ends close them."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()


def _pump(
    receive: Callable[[int], bytes],
    send: Callable[[bytes], object],
    shut_down: Callable[[int], object],
) -> None:
    """Carry bytes one way to their end, and hand on that they ended."""
    with contextlib.suppress(OSError, EOFError):
        while data := receive(PIECE_BYTES):
            send(data)
    with contextlib.suppress(OSError, EOFError):
        shut_down(socket.SHUT_WR)

"""A command that runs on another computer, spoken to over one channel of an SSH connection."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Self

from beowulf.errors import ConnectionLost
from beowulf.transport.local import Finished
from beowulf.transport.ssh_way import close_channel

if TYPE_CHECKING:
    import paramiko

PIECE_BYTES = 65_536
MOST_ERRORS_BYTES = 65_536
LOOK_S = 0.25
SENDING_LOOK_S = 0.02
NO_STATUS = -1
SIGNALLED = 255  # what ssh itself returns when a signal ended the command
# The login shell prints it when the command begins: what came before is a greeting of its own.
MARK = b"@beowulf:begins@\n"
MOST_GREETING_BYTES = 4096


def marked(command: str) -> str:
    """Return a line for a login shell of any kind that prints the mark and runs the command."""
    return f"echo '{MARK.decode().strip()}'; exec {command}"


class ChannelConversation:
    """A ``marked`` command that runs, with its standard input and output open.

    What a login shell's own files print before is not the command's, and left out; where the
    command never began, it counts as an error's words.

    Its output is read no faster than it is asked for, so that a fast writer is held up
    there; only while a ``send`` waits is it kept here, since both sides would wait else.
    """

    def __init__(self, channel: paramiko.Channel, name: str, arguments: tuple[str, ...]) -> None:
        self._channel = channel
        self._name = name
        self._arguments = arguments
        self._kept: deque[bytes] = deque()
        self._errors = bytearray()
        self._greeting: bytearray | None = bytearray()

    def send(self, data: bytes) -> None:
        """Write all of ``data`` to the command's standard input."""
        view = memoryview(data)
        self._channel.settimeout(SENDING_LOOK_S)
        while view:
            try:
                sent = self._channel.send(bytes(view[:PIECE_BYTES]))
            except TimeoutError:
                self._keep_what_came()
                continue
            except OSError:
                sent = 0
            if sent == 0:
                raise self._gone("it took not all of its input")
            view = view[sent:]

    def _keep_what_came(self) -> None:
        self._drain_errors()
        while self._channel.recv_ready():
            if own := self._own(self._channel.recv(PIECE_BYTES)):
                self._kept.append(own)

    def _own(self, data: bytes) -> bytes:
        """Return what the command itself printed of what came."""
        if self._greeting is None:
            return data
        self._greeting += data
        begins = self._greeting.find(MARK)
        if begins < 0:
            del self._greeting[:-MOST_GREETING_BYTES]
            return b""
        own = bytes(self._greeting[begins + len(MARK) :])
        self._greeting = None
        return own

    def end_input(self) -> None:
        """Close the command's standard input."""
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError):
            raise self._gone("its input could not be ended") from None

    def receive(self, most: int = PIECE_BYTES, timeout_s: float | None = None) -> bytes:
        """Return what it printed since, at most ``most`` bytes; none means that it has ended."""
        if self._kept:
            data = self._kept.popleft()
            if len(data) > most:
                self._kept.appendleft(data[most:])
            return data[:most]
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
            self._channel.settimeout(max(left, 0))
            try:
                data = self._channel.recv(most)
            except TimeoutError:
                self._drain_errors()
            else:
                if own := self._own(data):
                    return own
                if not data and not self._channel.eof_received:
                    raise self._gone("nothing is known of what it does")
                if not data:
                    return b""
            if deadline is not None and time.monotonic() >= deadline:
                raise ConnectionLost(f"{self._name}: no word after {timeout_s:g} s")

    def _drain_errors(self) -> None:
        """Take its standard error, which counts towards what may be under way, and keep the end."""
        while self._channel.recv_stderr_ready():
            self._errors += self._channel.recv_stderr(PIECE_BYTES)
        del self._errors[:-MOST_ERRORS_BYTES]

    def finish(self, timeout_s: float = 10) -> Finished:
        """Wait for its end and return its exit status, with the end of its standard error.

        What it printed and nobody received is lost.
        """
        deadline = time.monotonic() + timeout_s
        while not self._channel.status_event.wait(SENDING_LOOK_S):
            self._keep_what_came()
            self._kept.clear()
            if time.monotonic() >= deadline:
                raise ConnectionLost(
                    f"{self._name}: {self._arguments[0]} has not ended after {timeout_s:g} s"
                )
        self._wait_for_errors(deadline)
        status = self._channel.exit_status
        if status == NO_STATUS:
            transport = self._channel.get_transport()
            if not (transport.is_active() and self._channel.eof_received):
                raise self._gone("its exit status is not known")
            status = SIGNALLED
        said = bytes(self._greeting or b"") + self._errors
        return Finished(self._arguments, status, "", said.decode(errors="replace"))

    def _wait_for_errors(self, deadline: float) -> None:
        """Take the rest of its standard error: it may come behind the exit status."""
        self._channel.settimeout(SENDING_LOOK_S)
        while time.monotonic() < deadline:
            try:
                data = self._channel.recv_stderr(PIECE_BYTES)
            except TimeoutError:
                self._keep_what_came()  # a full window would hold back the end
                self._kept.clear()
                continue
            if not data:
                break
            self._errors += data
            del self._errors[:-MOST_ERRORS_BYTES]

    def close(self) -> None:
        """Let go of it, whether it has ended or not."""
        close_channel(self._channel)

    def _gone(self, what: str) -> ConnectionLost:
        transport = self._channel.get_transport()
        if transport is not None and transport.is_active():
            return ConnectionLost(f"{self._name}: {self._arguments[0]} ended early: {what}")
        return ConnectionLost(f"{self._name}: the connection is lost: {what}")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

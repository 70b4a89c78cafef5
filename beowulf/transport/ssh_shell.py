"""A person's terminal, connected to a command on another computer."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from typing import TYPE_CHECKING, Any

from beowulf.errors import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    import paramiko

PIECE_BYTES = 32_768
INPUT, OUTPUT, ERRORS = 0, 1, 2


def converse_on_terminal(channel: paramiko.Channel, command: str, name: str) -> int:
    """Connect this process's terminal with a command, or a login shell; return its status.

    Raises:
        ConnectionLost: The way to it is gone, or it refuses a terminal. The terminal is restored.
    """
    import paramiko  # noqa: PLC0415 - slow to import

    sys.stdout.flush()
    try:
        channel.get_pty(os.environ.get("TERM", "vt100"), *shutil.get_terminal_size())
        if command:
            channel.exec_command(command)
        else:
            channel.invoke_shell()
        with raw_terminal(), resizes() as resized:
            _carry(channel, resized)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise ConnectionLost(f"{name}: the shell is gone ({error})") from None
    channel.status_event.wait(5)
    if channel.exit_status < 0:
        transport = channel.get_transport()
        if transport is None or not transport.is_active() or not channel.eof_received:
            raise ConnectionLost(f"{name}: the connection is lost; what ran there may go on")
        return 255
    return channel.exit_status


def _carry(channel: paramiko.Channel, resized: int) -> None:
    """Carry bytes both ways until the command's output ends."""
    waiting = b""
    reading = True
    while True:
        sources: list[Any] = [channel, resized, *([INPUT] if reading and not waiting else [])]
        # What is typed waits while the far side takes nothing; the pause bounds that wait.
        ready, _, _ = select.select(sources, [], [], 0.05 if waiting else None)
        if resized in ready:
            os.read(resized, PIECE_BYTES)
            channel.resize_pty(*shutil.get_terminal_size())
        if INPUT in ready:
            waiting = os.read(INPUT, PIECE_BYTES)
            if not waiting:
                reading = False
                channel.shutdown_write()
        if waiting and channel.send_ready():
            waiting = waiting[channel.send(waiting) :]
        if channel in ready and _show(channel):
            return


def _show(channel: paramiko.Channel) -> bool:
    """Print what came, and say whether that was the end."""
    while channel.recv_stderr_ready():
        _write(ERRORS, channel.recv_stderr(PIECE_BYTES))
    if channel.recv_ready():
        _write(OUTPUT, channel.recv(PIECE_BYTES))
        return False
    return bool(channel.eof_received or channel.closed)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Hand every key to the other side as it is typed; put the terminal back whatever happens."""
    before = termios.tcgetattr(INPUT)
    try:
        tty.setraw(INPUT, termios.TCSADRAIN)  # what was typed already is not thrown away
        yield
    finally:
        termios.tcsetattr(INPUT, termios.TCSADRAIN, before)


@contextlib.contextmanager
def resizes() -> Iterator[int]:
    """Yield a descriptor that can be read once the window's size has changed."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    main = threading.current_thread() is threading.main_thread()
    if main:
        previous = signal.signal(signal.SIGWINCH, lambda *_: None)
        waker = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        if main:
            signal.set_wakeup_fd(waker)
            signal.signal(signal.SIGWINCH, previous)
        os.close(reader)
        os.close(writer)

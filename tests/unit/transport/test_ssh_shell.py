"""A person's terminal on another computer, tried on a terminal of the test's own."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from beowulf.errors import CommandFailed
from tests.unit.transport.conftest import Connect, Person
from tests.unit.transport.ssh_server import Server

PROGRAM = """
import sys
from beowulf.errors import BeowulfError
from beowulf.transport.ssh import SshConnection
from beowulf.transport.ssh_config import Address
connection = SshConnection(Address("127.0.0.1", None, int(sys.argv[1])), sys.argv[2])
try:
    status = connection.shell(sys.argv[3:])
except BeowulfError as error:
    sys.exit(f"{type(error).__name__}: {error}")
sys.exit(status)
"""


@dataclass
class Terminal:
    """A terminal with a shell on it, as a person has one before them."""

    process: subprocess.Popen[bytes]
    descriptor: int
    before: list[object]
    seen: bytes = b""

    def expect(self, words: bytes) -> None:
        """Read until these words have appeared."""
        deadline = time.monotonic() + 60
        os.set_blocking(self.descriptor, False)
        while words not in self.seen and time.monotonic() < deadline:
            try:
                self.seen += os.read(self.descriptor, 65_536)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:  # the program has ended
                break
        assert words in self.seen, self.seen

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def resize(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)
        self.process.send_signal(signal.SIGWINCH)

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.descriptor)[3] & termios.ICANON


class Open:
    """Open terminals, and end what runs on them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._terminals: list[Terminal] = []

    def __call__(self, *words: str) -> Terminal:
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs)
        environment = {n: v for n, v in os.environ.items() if n not in {"COLUMNS", "LINES"}}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self._server.port), str(self._server.key), *words],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment,
        )  # fmt: skip
        self._terminals.append(Terminal(process, ours, before))
        self._slave = theirs  # kept open, so that its settings can be looked at in the end
        return self._terminals[-1]

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.process.kill()
            terminal.process.wait()
            os.close(terminal.descriptor)


@pytest.fixture
def open_terminal(server: Server, person: Person) -> Iterator[Open]:
    opened = Open(server)
    yield opened
    opened.close()


def test_what_is_typed_goes_there_and_the_status_comes_back(
    open_terminal: Open, server: Server
) -> None:
    terminal = open_terminal()
    terminal.type(b"echo $((40 + 2))\n")
    terminal.expect(b"42")
    assert terminal.is_raw
    terminal.type(b"exit 5\n")
    assert terminal.process.wait(60) == 5
    assert termios.tcgetattr(terminal.descriptor) == terminal.before


def test_a_command_s_words_and_errors_are_shown(open_terminal: Open) -> None:
    terminal = open_terminal("sh", "-c", "echo 'two  words'; echo bad >&2; exit 3")
    terminal.expect(b"two  words")
    terminal.expect(b"bad")
    assert terminal.process.wait(60) == 3


def test_the_window_s_size_and_its_changes_are_told(open_terminal: Open, server: Server) -> None:
    terminal = open_terminal("sh", "-c", "echo ready; cat")
    terminal.expect(b"ready")
    terminal.resize(132, 50)
    deadline = time.monotonic() + 60
    while (132, 50) not in server.sizes and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server.sizes) >= 2
    assert server.sizes[-1] == (132, 50)


def test_a_lost_connection_gives_the_terminal_back(open_terminal: Open, server: Server) -> None:
    terminal = open_terminal("sh", "-c", "echo ready; cat")
    terminal.expect(b"ready")
    server.hang_up()
    terminal.expect(b"ConnectionLost")
    assert terminal.process.wait(60) == 1
    assert termios.tcgetattr(terminal.descriptor) == terminal.before


def test_without_a_terminal_there_is_no_shell(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115 - closed with it
    with pytest.raises(CommandFailed, match="there is no terminal here"):
        connect(server).shell([])
    assert server.logins == 0

"""SSH servers on this computer's own address, with which the tests talk."""

# ruff: noqa: ARG002 - the library fixes the signatures

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_SUCCESS,
)

from beowulf.transport.host_key import HostKey

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "ada"
PIECE_BYTES = 65_536
FORWARDED = "direct-tcpip"


@dataclass
class Server:
    """An SSH server that lets one user in with some keys, and runs commands as this process."""

    host_key: paramiko.PKey
    lets_in: list[bytes] = field(default_factory=list)
    hangs_up_after: int | None = None
    """It ends the connection once a command has printed so many bytes."""
    greeting: str = ""
    """What the login shell does before each command, as a person's .bashrc would."""
    forwards: bool = True
    port: int = 0
    logins: int = 0
    commands: list[str] = field(default_factory=list)
    transports: list[paramiko.Transport] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def key(self) -> HostKey:
        """Its host key, as it must be pinned."""
        return HostKey(self.host_key.get_name(), self.host_key.asbytes())

    def hang_up(self) -> None:
        """End every connection."""
        for transport in self.transports:
            transport.close()

    def freeze(self) -> None:
        """Read and answer nothing any more, and keep the connections open."""
        for transport in self.transports:
            transport.packetizer.read_message = frozen  # type: ignore[method-assign]


def frozen() -> Any:
    """Wait instead of reading a packet; the thread is a daemon, and the test ends long before."""
    time.sleep(120)
    raise EOFError


class Session(paramiko.ServerInterface):
    """What the server allows on one connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.words: dict[int, str] = {}
        self.targets: dict[int, tuple[str, int]] = {}

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if username == USER and key.asbytes() in self._server.lets_in:
            self._server.logins += 1
            return AUTH_SUCCESSFUL
        return AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind == "session":
            return OPEN_SUCCEEDED
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        if not self._server.forwards:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        self.targets[chanid] = destination
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.commands.append(command.decode())
        arguments = ["sh", "-c", f"{self._server.greeting}{command.decode()}"]
        self._run_once_told(channel, arguments)
        return True

    def _run_once_told(self, channel: paramiko.Channel, arguments: list[str]) -> None:
        thread = threading.Thread(target=_run, args=[self._server, channel, arguments], daemon=True)
        channel.get_transport().to_run.append(thread)  # type: ignore[attr-defined]

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        self._server.commands.append("")
        self._run_once_told(channel, ["sh"])
        return True

    def check_channel_pty_request(
        self, channel: paramiko.Channel, term: bytes, width: int, height: int, *rest: Any
    ) -> bool:
        self._server.sizes.append((width, height))
        return True

    def check_channel_window_change_request(
        self, channel: paramiko.Channel, width: int, height: int, *rest: Any
    ) -> bool:
        self._server.sizes.append((width, height))
        return True


class Replying(paramiko.Transport):
    """Start a command once the client was told that it may run, as sshd does.

    One that ended first would close its channel before the client knew that it had begun.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self.to_run: list[threading.Thread] = []

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc]  # it is not in the stubs
        if data.asbytes()[:1] == cMSG_CHANNEL_SUCCESS:
            while self.to_run:
                self.to_run.pop(0).start()


def _run(server: Server, channel: paramiko.Channel, arguments: list[str]) -> None:
    """Run a command with the channel as its standard input, output and error."""
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        threads = [
            threading.Thread(target=_feed, args=[channel, process.stdin], daemon=True),
            threading.Thread(target=_copy, args=[process.stderr, channel.sendall_stderr]),
        ]
        for thread in threads:
            thread.start()
        _print(server, channel, process.stdout)
        threads[1].join()
        status = process.wait()
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        if status >= 0:  # else it is told as a signal, which this server leaves out
            channel.send_exit_status(status)
        channel.close()


def _print(server: Server, channel: paramiko.Channel, output: Any) -> None:
    left = server.hangs_up_after
    with contextlib.suppress(OSError, EOFError):
        while data := output.read(PIECE_BYTES):
            channel.sendall(data if left is None else data[:left])
            if left is not None:
                left -= len(data)
                if left <= 0:
                    channel.get_transport().close()
                    break
    output.close()


def _feed(channel: paramiko.Channel, pipe: Any) -> None:
    with contextlib.suppress(OSError, EOFError, ValueError):
        while data := channel.recv(PIECE_BYTES):
            view = memoryview(data)
            while view:
                view = view[pipe.write(view) :]
    with contextlib.suppress(OSError):
        pipe.close()


def _copy(source: Any, send: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := source.read(PIECE_BYTES):
            send(data)


def _serve(server: Server, connection: socket.socket) -> None:
    """Serve one connection until its end."""
    transport = Replying(connection)
    server.transports.append(transport)
    transport.add_server_key(server.host_key)
    session = Session(server)
    try:
        transport.start_server(server=session)
    except (paramiko.SSHException, EOFError, OSError):
        transport.close()
        return
    while transport.is_active():
        channel = transport.accept(0.2)
        if channel is not None and channel.chanid in session.targets:
            target = session.targets[channel.chanid]
            threading.Thread(target=_connect, args=[channel, target], daemon=True).start()


def _connect(channel: paramiko.Channel, target: tuple[str, int]) -> None:
    """Carry a forwarded connection both ways."""
    with channel:
        try:
            other = socket.create_connection(target, 10)
        except OSError:
            return
        with other:
            other.settimeout(None)
            back = threading.Thread(target=_pump, args=[other, channel], daemon=True)
            back.start()
            _pump(channel, other)
            back.join(30)


def _pump(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := source.recv(PIECE_BYTES):
            sink.sendall(data)
    with contextlib.suppress(OSError, EOFError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def serving(server: Server, port: int = 0) -> Iterator[Server]:
    """Serve until the end of the ``with``."""
    listener = socket.create_server(("127.0.0.1", port))
    server.port = listener.getsockname()[1]

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=[server, connection], daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        server.hang_up()


def write_key(path: Path, passphrase: str | None = None) -> bytes:
    """Make a key file, with its public half beside it; return the public half's bytes."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase or "", "-f", str(path)]
    subprocess.run(words, check=True)
    public = path.with_name(f"{path.name}.pub").read_text().split()
    return base64.b64decode(public[1])

"""Run commands on another computer through SSH: one connection, kept for all of them."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from beowulf.errors import CommandFailed, ConnectionLost, HostKeyMismatch
from beowulf.transport.host_key import HostKey, parse_host_key
from beowulf.transport.local import Finished, explanation, require_terminal, shown
from beowulf.transport.ssh_channel import ChannelConversation, marked
from beowulf.transport.ssh_login import Login, ask_on_terminal
from beowulf.transport.ssh_route import KINDS, open_route, presented_key
from beowulf.transport.ssh_transport import Timeouts, load_paramiko, watch
from beowulf.transport.ssh_way import Means, Trust, close_channel, closing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import paramiko

    from beowulf.transport.ssh_config import Address
    from beowulf.transport.ssh_forward import Forward
    from beowulf.transport.ssh_way import Ask, Route

ENDING_S = 1.0
LOOK_S = 0.02
OPENINGS = 2  # a connection that was lost is opened anew, once per command
NOBODY = ("127.0.0.1", 0)  # who asks for a forwarded port is nobody's business there


class SshConnection:
    """A way to run commands on one computer, as one user, who is verified by a pinned host key.

    It is opened by the first command. A command that finds it lost opens it anew.
    """

    def __init__(
        self,
        address: Address,
        host_key: str | None,
        *,
        cluster: str = "NAME",
        timeouts: Timeouts | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.name = str(address)
        self._address = address
        self._pinned = parse_host_key(host_key) if host_key else None
        self._cluster = cluster
        self._means = Means(timeouts or Timeouts(), ask or ask_on_terminal())
        self._route: Route | None = None

    def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: str = "",
        timeout_s: float = 60,
        check: bool = True,
    ) -> Finished:
        """Run a command to its end and return what it printed."""
        deadline = time.monotonic() + timeout_s
        output = bytearray()
        with self._start(arguments) as talk:
            try:
                talk.send(stdin.encode())
            except ConnectionLost:
                if not self._alive():
                    raise  # else it ended without reading, which its status will tell of
            else:
                talk.end_input()
            try:
                while data := talk.receive(timeout_s=max(0, deadline - time.monotonic())):
                    output += data
                finished = talk.finish(max(0.1, deadline - time.monotonic()))
            except ConnectionLost:
                if self._alive() and time.monotonic() >= deadline:
                    words = shown(tuple(arguments))
                    raise CommandFailed(
                        f"{self.name}: {words}: no end after {timeout_s:g} s"
                    ) from None
                raise
        finished = Finished(
            finished.arguments, finished.status, output.decode(errors="replace"), finished.errors
        )
        if check and finished.status != 0:
            raise CommandFailed(f"{self.name}: {explanation(finished)}")
        return finished

    def converse(self, arguments: Sequence[str]) -> ChannelConversation:
        """Start a command and return it with its standard input and output open."""
        return self._start(arguments)

    def close(self) -> None:
        """End the connection. Another command opens a new one."""
        if self._route is not None:
            self._route.close()
            self._route = None

    def forward(
        self, local_port: int, host: str, port: int, report: Callable[[str], None] | None = None
    ) -> Forward:
        """Carry a port of this computer's own address to ``host:port`` as seen from the head.

        Port 0 takes one that is free. ``report`` hears of each connection that failed.
        The connection is opened at once, so that its errors come from here.

        Raises:
            InvalidInput: The port is taken, or not for this user to take.
            Unreachable, AuthenticationFailed, HostKeyMismatch: There is no way to the computer.
        """
        from beowulf.transport.ssh_forward import Forward  # noqa: PLC0415 - for few verbs only

        self._transport()

        def channel() -> paramiko.Channel:
            return self.open_channel("direct-tcpip", (host, port))

        return Forward(local_port, channel, f"{host}:{port} as seen from {self.name}", report)

    def shell(self, arguments: Sequence[str] = ()) -> int:
        """Give the person a terminal there, for a command or their shell; return its status.

        Raises:
            CommandFailed: There is no terminal here.
            ConnectionLost: It was there, and is gone. The terminal is as it was before.
            Unreachable, AuthenticationFailed, HostKeyMismatch: There is no way to the computer.
        """
        from beowulf.transport.ssh_shell import converse_on_terminal  # noqa: PLC0415 - likewise

        require_terminal()
        with closing(self.open_channel("session")) as channel:
            return converse_on_terminal(channel, shlex.join(arguments), self.name)

    def open_channel(self, kind: str, to: tuple[str, int] | None = None) -> paramiko.Channel:
        """Open a channel, on a new connection where the one that there was is lost."""
        load_paramiko()
        import paramiko  # noqa: PLC0415 - slow to import

        limit_s = self._means.timeouts.connect_s
        for _ in range(OPENINGS):
            transport = self._transport()
            try:
                channel = transport.open_channel(kind, to, NOBODY if to else None, timeout=limit_s)
                # The library gives one out that was asked for while the connection ended; who
                # asks anything over that waits for ever.
                if transport.is_active():
                    return channel
                self.close()
            except paramiko.ChannelException as error:
                raise CommandFailed(
                    f"{self.name}: it opens no channel ({error.text}); close other sessions there, "
                    f"or see MaxSessions and AllowTcpForwarding in its sshd_config"
                ) from None
            except (paramiko.SSHException, EOFError, OSError):
                self.close()
        raise ConnectionLost(
            f"{self.name}: it hangs up on every command; try: ssh {self._address.for_ssh}"
        )

    def _start(self, arguments: Sequence[str]) -> ChannelConversation:
        words = tuple(arguments)
        channel = self.open_channel("session")
        import paramiko  # noqa: PLC0415 - slow to import, and not before open_channel has

        try:
            # Its login shell reads one line; quoted, every word arrives as it is.
            channel.exec_command(marked(shlex.join(words)))
        except (paramiko.SSHException, EOFError, OSError):
            lost = self._ends()
            close_channel(channel)
            if lost:
                raise ConnectionLost(
                    f"{self.name}: the connection is lost; whether {words[0]} started is not known"
                ) from None
            raise CommandFailed(f"{self.name}: it refuses to run commands for this user") from None
        return ChannelConversation(channel, self.name, words)

    def _ends(self) -> bool:
        """Say whether the connection is lost: it closes its channels a moment before it ends."""
        deadline = time.monotonic() + ENDING_S
        while self._alive() and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return not self._alive()

    def _alive(self) -> bool:
        return self._route is not None and self._route.transport.is_active()

    def _transport(self) -> paramiko.Transport:
        """Return the connection, opened and logged in."""
        if self._route is not None and self._route.transport.is_active():
            return self._route.transport
        self.close()
        kinds = [self._pinned.kind] if self._pinned else []
        route = open_route(self._address, Trust(self._verify, kinds), self._means)
        try:
            Login(route, self._means.ask).run()
            watch(route.transport)
        except BaseException:
            route.close()
            raise
        self._route = route
        return route.transport

    def _verify(self, shown_key: HostKey) -> None:
        """Refuse every host key but the pinned one."""
        if self._pinned == shown_key:
            return
        add = f"beowulf cluster add {self._cluster} {self.name} --fingerprint SHA256:..."
        shows = f"{self.name}: its host key is {shown_key.fingerprint} ({shown_key.kind})"
        if self._pinned is None:
            raise HostKeyMismatch(f"{shows}, and none is pinned; compare it and type: {add}")
        raise HostKeyMismatch(
            f"{shows}, but {self._pinned.fingerprint} ({self._pinned.kind}) is pinned: it was "
            f"installed anew, or somebody stands in between; once its administrator tells you the "
            f"new one, type: beowulf cluster remove {self._cluster} && {add}"
        )


def first_contact(
    address: Address, *, kind: str | None = None, timeouts: Timeouts | None = None
) -> HostKey:
    """Return the host key that a computer shows, of ``kind`` if it has one. Nobody logs in.

    It proves nothing until a person compares its fingerprint.

    Raises:
        Unreachable, AuthenticationFailed, HostKeyMismatch: It, or a jump host, is.
    """
    load_paramiko()
    trust = Trust(lambda _: None, [kind] if kind else [])
    route = open_route(address, trust, Means(timeouts or Timeouts(), ask_on_terminal()))
    try:
        return presented_key(route.transport)
    finally:
        route.close()


def search_host_key(
    address: Address, fingerprint: str, *, timeouts: Timeouts | None = None
) -> HostKey:
    """Return the host key with a fingerprint, or the first that the computer shows.

    A computer has one of each type, and an administrator may tell the fingerprint of any.

    Raises:
        Unreachable, AuthenticationFailed, HostKeyMismatch: It, or a jump host, is.
    """
    first = first_contact(address, timeouts=timeouts)
    seen = {first.fingerprint: first}
    for kind in KINDS:
        if fingerprint in seen:
            break
        if kind not in {key.kind for key in seen.values()}:
            key = first_contact(address, kind=kind, timeouts=timeouts)
            seen[key.fingerprint] = key
    return seen.get(fingerprint, first)

"""The way to a computer: sockets, jump hosts, proxies; every host's key is verified."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from beowulf.errors import HostKeyMismatch, Unreachable
from beowulf.transport.host_key import HostKey, KnownHosts, read_known_hosts
from beowulf.transport.ssh_config import Address, HostSettings, read_settings
from beowulf.transport.ssh_login import Login
from beowulf.transport.ssh_transport import lively_transport, watch
from beowulf.transport.ssh_way import Means, Route, Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    import paramiko

    from beowulf.transport.ssh_transport import Timeouts

MOST_JUMPS = 8
KINDS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}


def open_route(
    address: Address,
    trust: Trust,
    means: Means,
    jumps: tuple[Address, ...] | None = None,
    depth: int = 0,
) -> Route:
    """Open the way to a computer, through its jump hosts or its proxy.

    ``jumps`` stand in for those of the person's configuration.

    Raises:
        Unreachable, HostKeyMismatch, AuthenticationFailed: It, or a host on the way, is.
    """
    name = f"jump host {address}" if depth else str(address)
    if depth > MOST_JUMPS:
        raise Unreachable(
            f"{name}: more than {MOST_JUMPS} jump hosts; look for a circle in ProxyJump"
        )
    settings = read_settings(address)
    if settings.connect_timeout_s:
        connect_s = min(means.timeouts.connect_s, settings.connect_timeout_s)
        means = replace(means, timeouts=replace(means.timeouts, connect_s=connect_s))
    # A pattern that says how to reach everything says so of the jump host as well.
    hops = [hop for hop in settings.jumps if hop.host != address.host] if jumps is None else jumps
    with contextlib.ExitStack() as parts:
        way: Any
        if hops:
            jump, way = _through(hops[-1], tuple(hops[:-1]) or None, settings, means, depth + 1)
            parts.callback(jump.close)
        elif settings.proxy_command:
            proxy, way = _proxy(settings.proxy_command)
            parts.callback(_reap, proxy)
        else:
            way = _dial(settings, name, means.timeouts)
        transport = _shake_hands(way, name, trust.kinds, means.timeouts)
        parts.callback(transport.close)
        trust.verify(presented_key(transport))
        return Route(name, address, transport, settings, parts.pop_all())


def presented_key(transport: paramiko.Transport) -> HostKey:
    """Return the key with which the computer at the other end proved itself."""
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())


def _dial(settings: HostSettings, name: str, timeouts: Timeouts) -> socket.socket:
    """Connect to a computer directly; each of its addresses gets its share of the time."""
    where = f"{settings.host} port {settings.port}"
    try:
        dialled = socket.create_connection((settings.host, settings.port), timeouts.connect_s)
    except socket.gaierror:
        raise Unreachable(
            f"{name}: no computer is called {settings.host}; check the name, or ~/.ssh/config"
        ) from None
    except TimeoutError:
        raise Unreachable(
            f"{name}: no answer from {where} after {timeouts.connect_s:g} s; "
            f"is it on, and are you on its network?"
        ) from None
    except OSError as error:
        raise Unreachable(
            f"{name}: {where}: {error.strerror or error}; is it on, and does sshd run there?"
        ) from None
    dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: what is not acknowledged ends the connection
        milliseconds = int(timeouts.silence_s * 1000)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return dialled


def _proxy(command: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the person's ProxyCommand, as OpenSSH does, and return it with its other end."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno()
        )
    return process, ours


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _through(
    hop: Address,
    before: tuple[Address, ...] | None,
    target: HostSettings,
    means: Means,
    depth: int,
) -> tuple[Route, paramiko.Channel]:
    """Log in to a jump host and return the way to it with a channel from there to ``target``."""
    import paramiko  # noqa: PLC0415 - slow to import

    name = f"jump host {hop}"
    settings = read_settings(hop)
    known = known_keys(settings)
    trust = Trust(
        lambda key: check_known(key, known, hop, settings.known_as),
        [key.kind for key in known.trusted],
    )
    route = open_route(hop, trust, means, before, depth)
    try:
        Login(route, means.ask).run()
        watch(route.transport)
        channel = route.transport.open_channel(
            "direct-tcpip",
            (target.host, target.port),
            ("127.0.0.1", 0),
            timeout=means.timeouts.connect_s,
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        route.close()
        raise Unreachable(
            f"{name}: no way from it to {target.host} port {target.port} ({error}); "
            f"try: ssh {hop.for_ssh}"
        ) from None
    except BaseException:
        route.close()
        raise
    return route, channel


def known_keys(settings: HostSettings) -> KnownHosts:
    """Return what the person's known_hosts files say of a host."""
    known = KnownHosts()
    for path in settings.known_hosts_files:
        with contextlib.suppress(OSError):
            known += read_known_hosts(path.read_text(errors="replace"), settings.known_as)
    return known


def check_known(key: HostKey, known: KnownHosts, hop: Address, known_as: str) -> None:
    """Refuse a jump host whose key is not in the person's known_hosts.

    Raises:
        HostKeyMismatch: It is another one, unknown, or revoked.
    """
    if key in known.trusted and key not in known.revoked:
        return
    shown = f"jump host {hop}: it shows the host key {key.fingerprint} ({key.kind})"
    if key in known.revoked:
        raise HostKeyMismatch(f"{shown}, which your known_hosts revokes; ask its administrator")
    if known.trusted:
        expected = ", ".join(f"{other.fingerprint} ({other.kind})" for other in known.trusted)
        raise HostKeyMismatch(
            f"{shown}, but your known_hosts has {expected}; if its administrator says that it is "
            f"new, type: ssh-keygen -R '{known_as}' and then: ssh {hop.for_ssh}"
        )
    raise HostKeyMismatch(
        f"{shown}, which your known_hosts lacks; compare it and type: ssh {hop.for_ssh}"
    )


def _shake_hands(
    way: Any, name: str, kinds: Sequence[str], timeouts: Timeouts
) -> paramiko.Transport:
    """Agree on keys with the computer at the end of ``way``."""
    import paramiko  # noqa: PLC0415 - slow to import

    transport = lively_transport(way, timeouts)
    try:
        options = transport.get_security_options()
        first = [a for kind in kinds for a in KINDS.get(kind, ()) if a in options.key_types]
        options.key_types = tuple(dict.fromkeys([*first, *options.key_types]))
        transport.start_client(timeout=timeouts.connect_s)
        if not transport.initial_kex_done:
            raise TimeoutError(f"none after {timeouts.connect_s:g} s")
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        said = str(error) or "it hung up"
        raise Unreachable(f"{name}: no SSH answer there ({said}); is it the right port?") from None
    return transport

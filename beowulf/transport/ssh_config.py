"""What a person's ssh configuration says of a host, as their own ssh reads it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from beowulf.errors import InvalidInput
from beowulf.transport.local import run

VARIABLE = "BEOWULF_SSH_CONFIG"
HOST = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%\w+)?"
)
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*\$?")
HOP = re.compile(
    r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^]]+\]|[^:@\[\]]+)(?::(?P<port>\d+))?/?"
)
MOST_CHARACTERS = 255
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Address:
    """Where somebody wants to log in, as typed: an alias or a name, and what else was said."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """Return ``[user@]host[:port]``."""
        host = f"[{self.host}]" if ":" in self.host and self.port else self.host
        return f"{self.user + '@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"

    @property
    def for_ssh(self) -> str:
        """Return the words behind ``ssh`` that mean it."""
        port = f"-p {self.port} " if self.port else ""
        return f"{port}{self.user + '@' if self.user else ''}{self.host}"


@dataclass(frozen=True)
class HostSettings:
    """What is to be known of a host to log in to it."""

    host: str
    user: str
    port: int = 22
    key_name: str = ""
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    agent_socket: str = ""
    jumps: tuple[Address, ...] = ()
    proxy_command: str = ""
    known_hosts_files: tuple[Path, ...] = ()
    connect_timeout_s: float | None = None

    @property
    def known_as(self) -> str:
        """Return the name under which known_hosts files have it."""
        if self.key_name:
            return self.key_name
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"


def parse_address(text: str, field: str = "[USER@]HOST[:PORT]") -> Address:
    """Read ``[user@]host[:port]``; the address of an IPv6 host with a port stands in brackets.

    Raises:
        InvalidInput: It is no such thing; the message names ``field``.
    """
    if text.count(":") > 1 and "[" not in text:
        user, _, host = text.rpartition("@")
        found = Address(host, user or None)
    else:
        match = HOP.fullmatch(text)
        if match is None or len(text) > MOST_CHARACTERS:
            raise _refusal(field, text)
        port = int(match["port"][:6]) if match["port"] else None
        found = Address(match["host"].strip("[]"), match["user"], port)
    if not HOST.fullmatch(found.host) or (found.user and not USER.fullmatch(found.user)):
        raise _refusal(field, text)
    if found.port is not None and not 1 <= found.port <= 65_535:
        raise InvalidInput(field, f"port {found.port} is none", "ports go from 1 to 65535")
    return found


def _refusal(field: str, text: str) -> InvalidInput:
    return InvalidInput(field, f"{text[:60]!r} is no login", "it looks like this: ada@head")


def read_settings(address: Address) -> HostSettings:
    """Ask the person's ssh what its configuration says of an address.

    OpenSSH itself reads its files, so that Include, Match and patterns mean here what
    they mean to it. Without an ssh on this computer there is no configuration either.
    ``BEOWULF_SSH_CONFIG`` names a file to read instead of the person's own.

    Raises:
        InvalidInput: The file that the variable names is not there.
        CommandFailed: ssh cannot read its configuration, or is not installed though there is one.
    """
    file = os.environ.get(VARIABLE, "")
    if file and not Path(file).is_file():
        raise InvalidInput(
            VARIABLE, f"there is no file {file}", f"set it right, or unset {VARIABLE}"
        )
    if shutil.which("ssh") is None and not file and not (_home() / ".ssh" / "config").exists():
        return _without_configuration(address)
    command = ["ssh", "-G", *(["-F", file] if file else [])]
    command += ["-l", address.user] if address.user else []
    command += ["-p", str(address.port)] if address.port else []
    return parse_settings(run([*command, "--", address.host]).output)


def parse_settings(printed: str) -> HostSettings:
    """Read what ``ssh -G`` printed.

    Raises:
        InvalidInput: A jump host in it is none.
    """
    said: dict[str, list[str]] = {}
    for line in printed.splitlines():
        name, _, value = line.partition(" ")
        said.setdefault(name, []).append(value)

    def one(name: str, otherwise: str = "") -> str:
        value = said.get(name, [otherwise])[0]
        return otherwise if value.lower() == "none" else value

    host, user, port = one("hostname"), one("user"), int(one("port", "22"))
    tokens = {"%h": host, "%r": user, "%p": str(port), "%d": str(_home()), "%u": _login(),
              "%n": one("host", host), "%%": "%"}  # fmt: skip
    files = " ".join([one("userknownhostsfile"), one("globalknownhostsfile")]).split()
    jumps = [hop for hop in one("proxyjump").split(",") if hop]
    timeout = one("connecttimeout")
    return HostSettings(
        host=host,
        user=user,
        port=port,
        key_name=one("hostkeyalias"),
        identity_files=tuple(
            _path(value, tokens) for value in said.get("identityfile", []) if value != "none"
        ),
        identities_only=one("identitiesonly") == "yes",
        agent_socket=_agent_socket(said, tokens),
        jumps=tuple(parse_address(hop, "ProxyJump") for hop in jumps),
        proxy_command=_expanded(one("proxycommand"), tokens),
        known_hosts_files=tuple(_path(name, tokens) for name in files),
        connect_timeout_s=float(timeout) if timeout.isdigit() else None,
    )


def _agent_socket(said: dict[str, list[str]], tokens: dict[str, str]) -> str:
    """Return where the agent listens; nothing where there is none, or none is wanted."""
    value = said.get("identityagent", ["SSH_AUTH_SOCK"])[0]
    if value == "none":
        return ""
    if value == "SSH_AUTH_SOCK" or value.startswith("$"):
        return os.environ.get(value.removeprefix("$").strip("{}"), "")
    return str(_path(value, tokens))


def _path(text: str, tokens: dict[str, str]) -> Path:
    expanded = _expanded(text, tokens)
    return _home() / expanded[2:] if expanded.startswith("~/") else Path(expanded)


def _expanded(text: str, tokens: dict[str, str]) -> str:
    return re.sub(r"%.", lambda match: tokens.get(match[0], match[0]), text)


def _without_configuration(address: Address) -> HostSettings:
    directory = _home() / ".ssh"
    return HostSettings(
        host=address.host,
        user=address.user or _login(),
        port=address.port or 22,
        identity_files=tuple(directory / name for name in DEFAULT_KEYS),
        agent_socket=os.environ.get("SSH_AUTH_SOCK", ""),
        known_hosts_files=(directory / "known_hosts", Path("/etc/ssh/ssh_known_hosts")),
    )


def _home() -> Path:
    """Return the home that ssh reads, whatever HOME says."""
    return Path(pwd.getpwuid(os.getuid()).pw_dir)


def _login() -> str:
    return pwd.getpwuid(os.getuid()).pw_name

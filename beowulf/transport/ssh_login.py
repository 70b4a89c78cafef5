"""Log in to a computer with the keys that a person has: their agent's, and their files'."""

from __future__ import annotations

import contextlib
import getpass
import socket
import sys
from typing import TYPE_CHECKING

from beowulf.errors import AuthenticationFailed, ConnectionLost, InvalidInput
from beowulf.transport.host_key import parse_host_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import paramiko

    from beowulf.transport.ssh_way import Ask, Route

PASSPHRASE_ATTEMPTS = 3
AGENT_TIMEOUT_S = 60  # it may ask its owner first


class Login:
    """One attempt to log in: every key in OpenSSH's order, until one is taken."""

    def __init__(self, route: Route, ask: Ask | None) -> None:
        self._transport = route.transport
        self._settings = route.settings
        self._name = route.name
        self._copy_key = f"ssh-copy-id {route.address.for_ssh}"
        self._ask = ask
        self._tried: list[str] = []
        self._locked: list[Path] = []
        self._offered: set[bytes] = set()
        self._accepts: list[str] = []

    def run(self) -> None:
        """Log in.

        Raises:
            AuthenticationFailed: No key was taken; says which were tried, and as whom.
            ConnectionLost: The computer went away meanwhile.
        """
        with agent_keys(self._settings.agent_socket) as held:
            if any(self._takes(key, label) for key, label in self._ready(held)):
                return
        if self._ask is not None and any(self._takes_locked(path) for path in self._locked):
            return
        raise AuthenticationFailed(self._explanation())

    def _ready(self, held: list[tuple[paramiko.PKey, str]]) -> Iterator[tuple[paramiko.PKey, str]]:
        """Yield the keys that need no passphrase, the agent's first."""
        files = self._settings.identity_files
        named = {blob for path in files if (blob := public_blob(path))}
        yield from ((key, label) for key, label in held if key.asbytes() in named)
        if not self._settings.identities_only:
            yield from ((key, label) for key, label in held if key.asbytes() not in named)
        for path in files:
            key = self._read(path)
            if key is not None:
                yield key, str(path)

    def _read(self, path: Path) -> paramiko.PKey | None:
        """Return a file's key; None where there is none, or a passphrase is needed first."""
        if not path.is_file() or public_blob(path) in self._offered:
            return None
        try:
            return read_key(path, None)
        except TypeError:  # how the library says that a passphrase is missing
            self._locked.append(path)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "no key that can be used"
            self._tried.append(f"{path} ({why})")
        return None

    def _takes_locked(self, path: Path) -> bool:
        """Ask for a key's passphrase and offer the key."""
        assert self._ask is not None  # noqa: S101 - for the type checker: run() looks first
        for _ in range(PASSPHRASE_ATTEMPTS):
            try:
                key = read_key(path, self._ask(f"Passphrase of {path}: "))
            except (ValueError, TypeError):
                continue
            return self._takes(key, str(path))
        self._tried.append(f"{path} (wrong passphrase)")
        return False

    def _takes(self, key: paramiko.PKey, label: str) -> bool:
        """Offer a key and say whether it is enough."""
        import paramiko  # noqa: PLC0415 - slow to import

        self._offered.add(key.asbytes())
        self._tried.append(label)
        try:
            self._accepts = list(self._transport.auth_publickey(self._settings.user, key))
        except paramiko.BadAuthenticationType as error:
            self._accepts = list(error.allowed_types)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not self._transport.is_active():
                raise self._hung_up(error) from None
        return bool(self._transport.is_authenticated())

    def _hung_up(self, error: Exception) -> AuthenticationFailed | ConnectionLost:
        if len(self._tried) > 1:
            return AuthenticationFailed(
                f"{self._name}: it hung up after {len(self._tried)} keys "
                f"({', '.join(self._tried)}); name the right one in ~/.ssh/config: "
                f"IdentityFile and IdentitiesOnly yes"
            )
        return ConnectionLost(f"{self._name}: it hung up during the login ({error}); try again")

    def _explanation(self) -> str:
        tried = ", ".join(self._tried) or "none: there is no agent with a key, and no key file"
        locked = [path for path in self._locked if str(path) not in self._tried]
        if locked and self._ask is None:
            return (
                f"{self._name}: user {self._settings.user} was not let in (keys tried: {tried}); "
                f"{locked[0]} has a passphrase, so type first: ssh-add {locked[0]}"
            )
        accepts = f"; it accepts: {', '.join(self._accepts)}" if self._accepts else ""
        return (
            f"{self._name}: user {self._settings.user} was not let in (keys tried: {tried}"
            f"{accepts}); check the user name, or hand in your key: {self._copy_key}"
        )


def ask_on_terminal() -> Ask | None:
    """Return a way to ask the person for a passphrase; None without a terminal."""
    return getpass.getpass if sys.stdin.isatty() and sys.stderr.isatty() else None


def read_key(path: Path, passphrase: str | None) -> paramiko.PKey:
    """Read a private key, with the certificate beside it if there is one.

    Raises:
        TypeError: It has a passphrase.
        ValueError: The passphrase is wrong, or it is no key of a known type.
        OSError: It cannot be read.
    """
    import paramiko  # noqa: PLC0415 - slow to import

    password = passphrase.encode() if passphrase is not None else None
    try:
        return paramiko.PKey.from_path(path, password)  # type: ignore[arg-type, unused-ignore]
    except (paramiko.PasswordRequiredException, TypeError):
        raise TypeError(f"{path} has a passphrase") from None
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - two libraries read keys, each with its own errors
        raise ValueError(str(error)) from None


def public_blob(path: Path) -> bytes:
    """Return the public key that lies beside a private one; nothing where none does."""
    beside = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    try:
        return parse_host_key(beside.read_text()).blob
    except (OSError, UnicodeDecodeError, InvalidInput):
        return b""


@contextlib.contextmanager
def agent_keys(path: str) -> Iterator[list[tuple[paramiko.PKey, str]]]:
    """Yield the keys that the agent behind a socket holds, each with how to call it."""
    if not path:
        yield []
        return
    from paramiko.agent import AgentSSH  # noqa: PLC0415 - slow to import
    from paramiko.ssh_exception import SSHException  # noqa: PLC0415

    class Agent(AgentSSH):
        """The agent behind one socket, whatever the environment says."""

        def open(self, connection: socket.socket) -> None:
            self._connect(connection)  # type: ignore[attr-defined]  # it is not in the stubs

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(AGENT_TIMEOUT_S)
        agent = Agent()
        try:
            connection.connect(path)
            agent.open(connection)
            keys: list[tuple[paramiko.PKey, str]] = [
                (key, f"agent's {key.comment or key.get_name()}") for key in agent.get_keys()
            ]
        except (OSError, SSHException, EOFError):  # an agent that left its socket behind
            keys = []
        yield keys

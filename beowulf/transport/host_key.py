"""A computer's host key as people write it, and its fingerprint as OpenSSH prints it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

from beowulf.errors import InvalidInput

PREFIX = "SHA256:"
DIGEST_BYTES = 32


@dataclass(frozen=True)
class HostKey:
    """A public host key: its type, ``ssh-ed25519``, and its bytes as they travel."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """Return ``SHA256:...``, as ``ssh-keygen -l`` prints it."""
        return PREFIX + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        """Return the line of a key file: its type and its bytes in base64."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


def parse_host_key(text: str, field: str = "host_key") -> HostKey:
    """Read ``ssh-ed25519 AAAA...``, with or without a comment behind.

    Raises:
        InvalidInput: It is no public key; the message names ``field``.
    """
    words = text.split()
    try:
        kind, blob = words[0], base64.b64decode(words[1], validate=True)
    except (IndexError, ValueError, binascii.Error):
        kind, blob = "", b""
    length = int.from_bytes(blob[:4], "big")
    if not kind or blob[4 : 4 + length] != kind.encode() or len(blob) <= 4 + length:
        raise InvalidInput(
            field, f"{text[:60]!r} is no public key", "it looks like this: ssh-ed25519 AAAA..."
        )
    return HostKey(kind, blob)


def parse_fingerprint(text: str, field: str = "--fingerprint") -> str:
    """Return a fingerprint as ``HostKey.fingerprint`` has it.

    Raises:
        InvalidInput: It is none of SHA-256; the message names ``field``.
    """
    words = text.strip().removeprefix(PREFIX).rstrip("=")
    try:
        digest = base64.b64decode(words + "=", validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise InvalidInput(
            field,
            f"{text[:60]!r} is no SHA-256 fingerprint",
            "on the head, ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints it",
        )
    return f"{PREFIX}{words}"


@dataclass(frozen=True)
class KnownHosts:
    """The host keys that a known_hosts file gives a name, and those that it revokes."""

    trusted: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()

    def __add__(self, other: KnownHosts) -> KnownHosts:
        """Return what both files say."""
        return KnownHosts(self.trusted + other.trusted, self.revoked + other.revoked)


def read_known_hosts(text: str, name: str) -> KnownHosts:
    """Return what a known_hosts file says of ``name``: ``head``, or ``[head]:2222``.

    What cannot be read, and what concerns certificates, is passed over, as OpenSSH does:
    it makes nobody trusted.
    """
    trusted, revoked = [], []
    for line in text.splitlines():
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or not _names(words[0], name):
            continue
        try:
            key = parse_host_key(" ".join(words[1:3]))
        except InvalidInput:
            continue
        if marker == "@revoked":
            revoked.append(key)
        elif not marker:
            trusted.append(key)
    return KnownHosts(tuple(trusted), tuple(revoked))


def _names(field: str, name: str) -> bool:
    """Say whether the first field of a line means ``name``: hashed, or patterns with * and ?."""
    if field.startswith("|1|"):
        return _hashes(field, name)
    patterns = field.lower().split(",")
    if any(p.startswith("!") and _matches(p[1:], name.lower()) for p in patterns):
        return False
    return any(_matches(p, name.lower()) for p in patterns)


def _hashes(field: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in field[3:].split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def _matches(pattern: str, name: str) -> bool:
    """Match * and ?, and nothing else: brackets stand for themselves in known_hosts."""
    wildcards = {"*": ".*", "?": "."}
    expression = "".join(wildcards.get(c, re.escape(c)) for c in pattern)
    return re.fullmatch(expression, name) is not None

"""The nodes' host keys, told on their consoles and never asked for through the network."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from beowulf.durable import write_file

if TYPE_CHECKING:
    from pathlib import Path

    from beowulf.lab.directory import LabDirectory, NodeDirectory
    from beowulf.lab.machine import Plan

# What the image's unit sshd-keygen.service prints at every boot.
TOLD = re.compile(r"lab-host-key: (ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+) ([A-Za-z0-9+/=]+)(?: \S*)?$")
WANTED = "ssh-ed25519"
LENGTH_BYTES = 4
# Of how many fields a public key is made (RFC 4253, 5656 and 8709), its type's name included.
FIELDS = {WANTED: 2}
OTHER_FIELDS = 3


def parse_host_keys(text: str) -> list[str]:
    """Return the host keys in the words of a console, as ``TYPE BASE64``, each once.

    Others write there too: what stands before a key does not matter, and a key with
    something in it is none.
    """
    matches = [TOLD.search(line.strip()) for line in text.splitlines()]
    found = dict.fromkeys(f"{match[1]} {match[2]}" for match in matches if match)
    return [key for key in found if _is_whole(key)]


def _is_whole(key: str) -> bool:
    """Say whether a key is all there: as many fields as its type has, the first its name."""
    kind, data = key.split()
    try:
        decoded = base64.b64decode(data, validate=True)
    except binascii.Error:
        return False
    if base64.b64encode(decoded).decode("ascii") != data:  # Python is lenient about the end
        return False
    fields = []
    while decoded:
        end = LENGTH_BYTES + int.from_bytes(decoded[:LENGTH_BYTES], "big")
        if len(decoded) < end:
            return False
        fields.append(decoded[LENGTH_BYTES:end])
        decoded = decoded[end:]
    return len(fields) == FIELDS.get(kind, OTHER_FIELDS) and fields[0] == kind.encode()


def collect_host_keys(files: NodeDirectory) -> list[str]:
    """Return a node's host keys, taken from its console if they were not known yet.

    A known key is never replaced: a node with a new disk is a new directory.
    """
    known = _read(files.host_keys)
    if known:
        return known
    try:
        text = files.console.read_text(errors="replace")
    except FileNotFoundError:
        return []
    told = parse_host_keys(text)
    if any(key.startswith(WANTED) for key in told) and "\n" in text.rpartition(told[-1])[2]:
        write_file(files.host_keys, "".join(f"{key}\n" for key in told).encode())
        return told
    return []


def write_known_hosts(directory: LabDirectory, plan: Plan) -> None:
    """Write what ssh verifies the nodes by, from what they told so far."""
    lines = [
        f"{machine.name},{machine.address} {key}\n"
        for machine in plan.machines
        for key in _read(directory.node(machine.name).host_keys)
    ]
    write_file(directory.known_hosts, "".join(lines).encode())
    directory.known_hosts.chmod(0o644)


def _read(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []

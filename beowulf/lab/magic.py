"""Magic packets, by which a network card wakes its machine (AMD, "Magic Packet Technology")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SYNCHRONISATION = b"\xff" * 6
REPETITIONS = 16
ETHERNET_HEADER_BYTES = 14


def magic_packet(mac: str) -> bytes:
    """Return what wakes the card with this address: six times FF, then 16 times the address."""
    return SYNCHRONISATION + bytes.fromhex(mac.replace(":", "")) * REPETITIONS


def woken_by(frame: bytes, machines: Mapping[str, bytes]) -> list[str]:
    """Return the machines that an Ethernet frame wakes.

    ``machines`` has each one's whole magic packet by its name. As with a real card the
    packet may stand anywhere in the frame's payload, whatever protocol carries it.
    """
    if SYNCHRONISATION not in frame[ETHERNET_HEADER_BYTES:]:
        return []
    payload = frame[ETHERNET_HEADER_BYTES:]
    return [name for name, packet in machines.items() if packet in payload]

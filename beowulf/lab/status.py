"""How a lab and its nodes are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beowulf.lab import network, power
from beowulf.lab.kernel import USER
from beowulf.lab.lab import read_plan
from beowulf.lab.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from beowulf.lab.directory import LabDirectory
    from beowulf.lab.machine import Machine

DISK_BLOCK_BYTES = 512


@dataclass(frozen=True)
class NodeStatus:
    """How one node is. ``cable`` is None where only root could look."""

    machine: Machine
    state: str
    cable: network.Cable | None
    image: str | None
    disk_mb: float
    pid: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the record of the JSON contract."""
        cable = self.cable
        return {
            "name": self.machine.name,
            "address": self.machine.address,
            "mac": self.machine.mac,
            "memory_mb": self.machine.memory_mb,
            "state": self.state,
            "cable": None if cable is None else "connected" if cable.connected else "cut",
            "rate": cable.rate if cable else None,
            "image": self.image,
            "disk_mb": round(self.disk_mb, 1),
            "pid": self.pid,
        }


def status(
    directory: LabDirectory, inventory: Path, names: Sequence[str]
) -> tuple[bool, list[NodeStatus]]:
    """Return whether there is such a lab, and how each of its nodes is.

    Where there is none, its nodes are those that the inventory would give it.

    Raises:
        BeowulfError: There is no such node, or the inventory cannot be read.
    """
    made = directory.settings.exists()
    if made:
        settings = read_settings(directory)
    else:
        settings = Settings(read_plan(inventory), "", inventory, inventory)
    cables = network.cables(directory.name, settings.plan) if made and os.geteuid() == 0 else {}
    return made, [
        NodeStatus(
            machine,
            state := power.state(directory, machine.name),
            cables.get(machine.name),
            settings.image if state != power.ABSENT else None,
            _disk_mb(directory.node(machine.name).disk),
            power.kernel_pid(directory, machine.name),
        )
        for machine in settings.chosen(names)
    ]


def description(directory: LabDirectory, made: bool, nodes: list[NodeStatus]) -> dict[str, Any]:  # noqa: FBT001
    """Return the lab's record of the JSON contract."""
    return {
        "name": directory.name,
        "directory": str(directory.path),
        "exists": made,
        "ssh_config": str(directory.ssh_config),
        "known_hosts": str(directory.known_hosts),
        "identity": str(directory.identity),
        "user": USER,
        "nodes": [node.to_json() for node in nodes],
    }


def _disk_mb(disk: Path) -> float:
    try:
        return disk.stat().st_blocks * DISK_BLOCK_BYTES / 1e6
    except OSError:
        return 0.0

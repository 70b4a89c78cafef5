"""Examples of labs."""

from __future__ import annotations

from typing import Any

from beowulf.cluster.node import Node
from beowulf.lab.machine import Machine, Plan

NODE1 = Machine("node1", "10.77.0.11", "02:be:0f:77:00:11", 512)
NODE2 = Machine("node2", "10.77.0.12", "02:be:0f:77:00:12", 256)
PLAN = Plan("10.77.0.0/24", (NODE1, NODE2))


def node(name: str = "node1", address: str = "10.77.0.11", **variables: Any) -> Node:
    """Return a node of an inventory, right unless something else is said; None leaves it out."""
    stated = {
        "lab_subnet": "10.77.0.0/24",
        "lab_mac": f"02:be:0f:77:00:{address[-2:]}",
        "lab_memory_mb": 512,
        **variables,
    }
    kept = {key: value for key, value in stated.items() if value is not None}
    return Node(name, address, ("nodes",), kept)

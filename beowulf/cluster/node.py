"""What a cluster is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Node:
    """One machine of a cluster, as the inventory tells it.

    ``address`` is where it is reached: ``ansible_host``, or the name itself.
    """

    name: str
    address: str
    groups: tuple[str, ...]
    variables: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Cluster:
    """The machines of an inventory, in its order."""

    nodes: tuple[Node, ...]

    def in_group(self, group: str) -> tuple[Node, ...]:
        """Return the nodes of one group, in the inventory's order."""
        return tuple(node for node in self.nodes if group in node.groups)

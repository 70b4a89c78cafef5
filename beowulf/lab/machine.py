"""The lab's machines, as the inventory states them once."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from beowulf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beowulf.cluster.node import Cluster, Node

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, one label
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# RFC 1918. Other networks that are no public ones (loopback, link-local) have rules of their own.
PRIVATE = tuple(
    ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
LEAST_MEMORY_MB = 256  # Debian 13 boots with less, and then swaps the lab's tests out
MOST_MEMORY_MB = 65_536


@dataclass(frozen=True)
class Machine:
    """One virtual machine: its name, its network card and its memory."""

    name: str
    address: str
    mac: str
    memory_mb: int


@dataclass(frozen=True)
class Plan:
    """What a lab is to be: a subnet and the machines in it."""

    subnet: str
    machines: tuple[Machine, ...]

    @property
    def gateway(self) -> str:
        """The address of the lab's switch, where the package proxy is: the subnet's first."""
        return str(next(ipaddress.IPv4Network(self.subnet).hosts()))

    @property
    def prefix(self) -> int:
        """The subnet's length in bits."""
        return ipaddress.IPv4Network(self.subnet).prefixlen

    @property
    def netmask(self) -> str:
        """The subnet's mask."""
        return str(ipaddress.IPv4Network(self.subnet).netmask)

    def port(self, machine: Machine) -> int:
        """Return the number of a machine's port at the switch: its address in the subnet."""
        network = ipaddress.IPv4Network(self.subnet)
        return int(ipaddress.IPv4Address(machine.address)) - int(network.network_address)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a JSON value."""
        return {"subnet": self.subnet, "machines": [asdict(machine) for machine in self.machines]}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Plan:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: It wrote another value.
        """
        machines = tuple(Machine(**machine) for machine in value["machines"])
        plan = Plan(str(ipaddress.IPv4Network(value["subnet"])), machines)
        network = ipaddress.IPv4Network(plan.subnet)
        inside = all(ipaddress.IPv4Address(machine.address) in network for machine in machines)
        if plan.to_json() != value or not inside or not all(map(_is_well_typed, machines)):
            raise ValueError
        return plan


def _is_well_typed(machine: Machine) -> bool:
    texts = (machine.name, machine.address, machine.mac)
    return all(type(text) is str for text in texts) and type(machine.memory_mb) is int


def plan_of(cluster: Cluster) -> Plan:
    """Return the lab that an inventory describes.

    Raises:
        InvalidInput: A machine's name, address, MAC or memory cannot be used; the
            message names the machine and the variable.
    """
    subnet = _subnet(cluster.nodes)
    machines = tuple(_machine(node, subnet) for node in cluster.nodes)
    for field, variable in (("address", "ansible_host"), ("mac", "lab_mac")):
        seen: dict[str, str] = {}
        for machine in machines:
            value = getattr(machine, field)
            if value in seen:
                raise InvalidInput(
                    f"{machine.name}.{variable}",
                    f"{seen[value]} has {value} too",
                    "give each machine its own",
                )
            seen[value] = machine.name
    return Plan(str(subnet), machines)


def _subnet(nodes: tuple[Node, ...]) -> ipaddress.IPv4Network:
    stated = {str(node.variables.get("lab_subnet", "")) for node in nodes}
    remedy = "state it once for all machines, as 10.77.0.0/24 in group_vars/all.yml"
    if len(stated) != 1:
        values = ", ".join(text or "none" for text in sorted(stated))
        raise InvalidInput("lab_subnet", f"machines differ: {values}", remedy)
    text = stated.pop()
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise InvalidInput("lab_subnet", f"{text!r} is no IPv4 subnet", remedy) from None
    if not any(map(network.subnet_of, PRIVATE)) or not 16 <= network.prefixlen <= 29:
        raise InvalidInput("lab_subnet", f"{text} is no private subnet of /16 to /29", remedy)
    return network


def _machine(node: Node, subnet: ipaddress.IPv4Network) -> Machine:
    if not HOST_NAME.fullmatch(node.name):
        raise InvalidInput(
            node.name, "this is no host name", "use small letters, digits and dashes"
        )
    return Machine(node.name, _address(node, subnet), _mac(node), _memory_mb(node))


def _address(node: Node, subnet: ipaddress.IPv4Network) -> str:
    field = f"{node.name}.ansible_host"
    try:
        address = ipaddress.IPv4Address(node.address)
    except ValueError:
        raise InvalidInput(
            field, f"{node.address!r} is no IPv4 address", "give it one inside lab_subnet"
        ) from None
    gateway, *others = (subnet.network_address + 1, subnet.network_address)
    if address not in subnet or address in (*others, subnet.broadcast_address):
        raise InvalidInput(field, f"{address} is no host of {subnet}", "give it one inside")
    if address == gateway:
        raise InvalidInput(field, f"{address} is the lab's switch", "give it another one")
    return str(address)


def _mac(node: Node) -> str:
    text = str(node.variables.get("lab_mac", "")).lower()
    if not MAC.fullmatch(text) or int(text[:2], 16) & 0b11 != 0b10:
        raise InvalidInput(
            f"{node.name}.lab_mac",
            f"{text!r} is no local unicast MAC address",
            "write one that begins with 02, in quotes",
        )
    return text


def _memory_mb(node: Node) -> int:
    value = node.variables.get("lab_memory_mb")
    if isinstance(value, bool) or not isinstance(value, int):
        value = -1
    if not LEAST_MEMORY_MB <= value <= MOST_MEMORY_MB:
        raise InvalidInput(
            f"{node.name}.lab_memory_mb",
            f"{node.variables.get('lab_memory_mb')!r} is no memory size",
            f"write a whole number from {LEAST_MEMORY_MB} to {MOST_MEMORY_MB}",
        )
    return value

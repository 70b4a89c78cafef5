"""A lab's network: a namespace of its own, a switch in it, and a cable to each node.

::

    node's card = tapN ─ hubN ─ plugN ══ portN ─ switch (the gateway's address)
                                 the cable

Nothing connects the namespace with this computer's other networks, so that no packet
can leave, and two labs may use the same addresses. The cable is a veth pair: pulled
out, ``portN`` is down; a slow one has a token bucket (tbf) at both ends, one for each
direction. ``hubN`` is a bridge because User-Mode Linux needs a tap.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput, LabError
from beowulf.transport.local import run

if TYPE_CHECKING:
    from collections.abc import Container

    from beowulf.lab.machine import Machine, Plan

SWITCH = "switch"
RATE = re.compile(r"([1-9][0-9]{0,4})(kbit|mbit|gbit)")
MOST_BITS_PER_S = 100_000_000_000  # more than any cable has, and tc's numbers hold it
BITS = {"kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
# A bucket must hold what may pass in one tick of the kernel's timer (tc-tbf(8)).
LEAST_BURST_BYTES = 16_384
TICKS_PER_S = 1000
CARRIER_TIMEOUT_S = 10
LOOK_S = 0.05
LATENCY = "50ms"


@dataclass(frozen=True)
class Cable:
    """How the cable of a node is: plugged in or not, and how fast, if it is slowed down."""

    connected: bool = True
    rate: str | None = None


def namespace_of(lab: str) -> str:
    """Return the name of a lab's network namespace."""
    return f"beowulf-{lab}"


def exists(lab: str) -> bool:
    """Say whether a lab's network is there."""
    listed = run(["ip", "-json", "netns", "list"]).output
    names = [entry["name"] for entry in json.loads(listed or "[]")]
    return namespace_of(lab) in names


def create(lab: str, plan: Plan) -> None:
    """Make a lab's network as far as it is missing."""
    namespace = namespace_of(lab)
    if not exists(lab):
        run(["ip", "netns", "add", namespace])
    present = _links(lab)
    lines = ["link set lo up"]
    if SWITCH not in present:
        lines += [f"link add {SWITCH} type bridge stp_state 0 forward_delay 0"]
    lines += [f"address replace {plan.gateway}/{plan.prefix} dev {SWITCH}", f"link set {SWITCH} up"]
    for machine in plan.machines:
        number = plan.port(machine)
        names = {f"tap{number}", f"hub{number}", f"plug{number}", f"port{number}"}
        if not names <= present.keys() or not present[f"hub{number}"]:
            lines += _removal(number, present) + _port(number)
    _batch(namespace, lines)
    for knob in ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv4.ip_forward=0"):
        run(
            ["ip", "netns", "exec", namespace, "sysctl", "-q", "-w", knob], check="ipv6" not in knob
        )


def _port(number: int) -> list[str]:
    """Return what makes a port. Its hub is up once all the rest is done."""
    return [
        f"link add hub{number} type bridge stp_state 0 forward_delay 0",
        f"tuntap add tap{number} mode tap",
        f"link add plug{number} type veth peer name port{number}",
        f"link set tap{number} master hub{number} up",
        f"link set plug{number} master hub{number} up",
        f"link set port{number} master {SWITCH} up",
        f"link set hub{number} up",
    ]


def _removal(number: int, present: Container[str]) -> list[str]:
    """Return what removes the half-made port that a killed run left."""
    return [
        f"link delete {name}{number}"
        for name in ("hub", "tap", "plug")
        if f"{name}{number}" in present
    ]


def _links(lab: str) -> dict[str, bool]:
    """Return the devices in a lab's network, and whether each is up."""
    found = run(["ip", "-json", "-n", namespace_of(lab), "link"]).output
    return {link["ifname"]: "UP" in link["flags"] for link in json.loads(found or "[]")}


def _batch(namespace: str, lines: list[str]) -> None:
    run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")


def remove(lab: str) -> None:
    """Remove a lab's network with all that is in it. Processes inside must have been ended."""
    if exists(lab):
        run(["ip", "netns", "delete", namespace_of(lab)])


def processes_inside(lab: str) -> list[int]:
    """Return the processes that are in a lab's network."""
    if not exists(lab):
        return []
    return [int(pid) for pid in run(["ip", "netns", "pids", namespace_of(lab)]).output.split()]


def cut(lab: str, plan: Plan, machine: Machine) -> None:
    """Pull a node's cable out."""
    _batch(namespace_of(lab), [f"link set port{plan.port(machine)} down"])


def heal(lab: str, plan: Plan, machine: Machine) -> None:
    """Put a good cable in: plugged, and as fast as this computer can."""
    number = plan.port(machine)
    shaped = _shaped(lab)
    for device in (f"plug{number}", f"port{number}"):
        if f"{device} " in shaped:
            run(["tc", "-n", namespace_of(lab), "qdisc", "delete", "dev", device, "root"])
    _batch(namespace_of(lab), [f"link set port{number} up"])
    _wait_for_carrier(lab, f"port{number}")


def _wait_for_carrier(lab: str, port: str) -> None:
    """Wait until the switch forwards through a port: the kernel looks at carriers once a second.

    Raises:
        LabError: It does not after ten seconds.
    """
    deadline = time.monotonic() + CARRIER_TIMEOUT_S
    while True:
        shown = run(["ip", "-json", "-details", "-n", namespace_of(lab), "link", "show", port])
        (link,) = json.loads(shown.output)
        if link["linkinfo"]["info_slave_data"]["state"] == "forwarding":
            return
        if time.monotonic() > deadline:
            raise LabError(
                f"{port}: the switch does not forward through it; see: ip -n "
                f"{namespace_of(lab)} -details link show {port}"
            )
        time.sleep(LOOK_S)


def limit(lab: str, plan: Plan, machine: Machine, rate: str) -> None:
    """Make a node's cable slow, in both directions.

    Raises:
        InvalidInput: ``rate`` is no rate such as ``100mbit``.
    """
    burst = max(LEAST_BURST_BYTES, bits_per_s(rate) // 8 // TICKS_PER_S)
    number = plan.port(machine)
    for device in (f"plug{number}", f"port{number}"):
        run(["tc", "-n", namespace_of(lab), "qdisc", "replace", "dev", device, "root", "tbf",
             "rate", rate, "burst", str(burst), "latency", LATENCY])  # fmt: skip


def bits_per_s(rate: str) -> int:
    """Return a rate such as ``100mbit`` in bits per second.

    Raises:
        InvalidInput: It is no rate.
    """
    match = RATE.fullmatch(rate.lower())
    if match is None or int(match[1]) * BITS[match[2]] > MOST_BITS_PER_S:
        raise InvalidInput(
            "RATE", f"{rate!r} is no rate", "write it as 100mbit or 1gbit, up to 100gbit"
        )
    return int(match[1]) * BITS[match[2]]


def cables(lab: str, plan: Plan) -> dict[str, Cable]:
    """Return how each node's cable is."""
    if not exists(lab):
        return {}
    up = _links(lab)
    shaped = _shaped(lab)
    found = {}
    for machine in plan.machines:
        port = f"port{plan.port(machine)}"
        rate = re.search(rf" dev {port} .*?rate (\w+)", shaped)
        found[machine.name] = Cable(up.get(port, False), rate[1].lower() if rate else None)
    return found


def _shaped(lab: str) -> str:
    """Return the token buckets of a lab's cables, a line each."""
    listed = run(["tc", "-n", namespace_of(lab), "qdisc", "show"]).output
    return "".join(f"{line}\n" for line in listed.splitlines() if line.startswith("qdisc tbf"))

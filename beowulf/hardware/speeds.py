"""What is wrong with nodes and wires, from what ``beowulf bench`` measured, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_high
from typing import TYPE_CHECKING

from beowulf.hardware.findings import Finding, good, wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.job.measured import Measured, WireSpeed

MBIT = 1e6 / 8  # bytes
# Ethernet comes in steps of 2.5 and more; what a busy computer loses is less than half.
SLOW = 0.5
# A wire with both directions at once carries in each what it carries in one, or half of it.
HALF = 0.65
# Ethernet above 100 Mbit/s has no half duplex; there, a processor is what can't do both at once.
FASTEST_HALF_DUPLEX_MBIT = 130
# What TCP gets of Ethernet's steps, by a kernel's and a cable's odds and ends: from and to.
STEPS_MBIT = {"10 Mbit": (6, 10.5), "100 Mbit": (65, 105), "1 Gbit": (650, 1050),
              "2.5 Gbit": (1700, 2600)}  # fmt: skip
REMEDY = (
    "try another cable, then another port of the switch; on {name}: ethtool PORT says its speed"
)
HALF_REMEDY = "let both ends negotiate: no fixed speed or duplex at the switch, no hub"


@dataclass(frozen=True)
class NodeWire:
    """What one node's own wire carries, bytes/s, whoever is at the other end."""

    sends: float
    receives: float
    both: float
    latency_s: float

    @property
    def carries(self) -> float:
        """Return what it carries in its worse direction."""
        return min(self.sends, self.receives)


def node_wires(measured: Measured) -> dict[str, NodeWire]:
    """Return each node's wire by its name: the best that it does with any other node.

    A wire between two nodes is as slow as the slower end; what a node does with its best
    partner is its own.
    """
    found = {}
    for node in measured.nodes:
        out = [wire for wire in measured.wires if wire.source == node.name]
        into = [wire for wire in measured.wires if wire.target == node.name]
        if out and into:
            found[node.name] = NodeWire(
                sends=max(wire.bytes_per_s for wire in out),
                receives=max(wire.bytes_per_s for wire in into),
                both=max(wire.both_bytes_per_s for wire in out),
                latency_s=min(wire.latency_s for wire in out),
            )
    return found


def judge_speeds(measured: Measured) -> list[Finding]:
    """Return what is right and wrong with each node's wire, the faults first."""
    wires = node_wires(measured)
    if not wires:
        return []
    usual = median_high(wire.carries for wire in wires.values())
    slow = [name for name, wire in wires.items() if wire.carries < SLOW * usual]
    faults = [_slow(name, wires[name], usual) for name in slow]
    faults += _half_duplex(measured, wires)
    told = {fault.subject for fault in faults}
    if len(told) == len(wires):
        return faults
    words = f"{_rest(len(wires), len(told))} {mbit(usual)} Mbit/s{_step_in_words(usual)}"
    return [*faults, good("wires", words)]


def _rest(wires: int, faulty: int) -> str:
    if faulty:
        return "the other wires carry" if wires - faulty > 1 else "the other wire carries"
    return "every wire carries" if wires > 2 else "the wire carries"


def _slow(name: str, wire: NodeWire, usual: float) -> Finding:
    one_way = ""
    if max(wire.sends, wire.receives) > wire.carries / SLOW:
        one_way = f" in one direction (out {mbit(wire.sends)}, in {mbit(wire.receives)})"
    step = step_of(wire.carries)
    why = f"a {step} port or cable" if step else "a damaged cable, or other traffic on it"
    return wrong(
        name,
        f"{name}'s wire carries {mbit(wire.carries)} Mbit/s{one_way} where the others carry "
        f"{mbit(usual)}: {why}",
        REMEDY.format(name=name),
    )


def _half_duplex(measured: Measured, wires: dict[str, NodeWire]) -> list[Finding]:
    told = {node.name for node in measured.nodes if any(p.duplex == "half" for p in node.ports)}
    seen = {name for name in wires if _is_one_way_at_a_time(name, measured.wires)}
    if len(seen) == len(wires) and not told:
        ends = " and ".join(wires) if len(wires) == 2 else "the nodes"
        what = "one of the two ports is half duplex" if len(wires) == 2 else "they share a hub"
        return [
            wrong(name, f"between {ends} only one direction at a time works: {what}", HALF_REMEDY)
            for name in list(wires)[:1]
        ]
    return [
        wrong(name, f"{name}'s wire carries only one direction at a time: {why}", HALF_REMEDY)
        for name in wires
        if name in told | seen
        for why in ["its port says half duplex" if name in told else "a half-duplex port or a hub"]
    ]


def _is_one_way_at_a_time(name: str, wires: Sequence[WireSpeed]) -> bool:
    """Say whether a node can't send and receive at once with any of the others."""
    alone = {(wire.source, wire.target): wire.bytes_per_s for wire in wires}
    shares = [
        wire.both_bytes_per_s / slower
        for wire in wires
        if wire.source == name
        for slower in [min(wire.bytes_per_s, alone.get((wire.target, name), wire.bytes_per_s))]
        if slower <= FASTEST_HALF_DUPLEX_MBIT * MBIT
    ]
    every = sum(wire.source == name for wire in wires)
    return bool(shares) and len(shares) == every and max(shares) < HALF


def step_of(bytes_per_s: float) -> str | None:
    """Return which of Ethernet's steps a speed is what TCP gets of, if any.

    >>> step_of(94.1 * MBIT), step_of(300 * MBIT)
    ('100 Mbit', None)
    """
    for step, (least, most) in STEPS_MBIT.items():
        if least <= bytes_per_s / MBIT <= most:
            return step
    return None


def _step_in_words(bytes_per_s: float) -> str:
    step = step_of(bytes_per_s)
    return f", as {step} Ethernet does" if step else ""


def mbit(bytes_per_s: float) -> str:
    """Return a speed in Mbit/s with as many digits as help.

    >>> mbit(117.5e6), mbit(1.2e6)
    ('940', '9.6')
    """
    value = bytes_per_s / MBIT
    return f"{value:,.0f}" if value >= 20 else f"{value:.2g}"


def ring_limit_s(measured: Measured, size_bytes: int) -> float | None:
    """Return the least time in which a ring could sum ``size_bytes`` over these wires.

    2 (n - 1) / n of the bytes pass the slowest wire (Patarasuk and Yuan, 2009). None without wires.
    """
    wires = node_wires(measured)
    if not wires:
        return None
    nodes = len(measured.nodes)
    return 2 * (nodes - 1) / nodes * size_bytes / min(wire.carries for wire in wires.values())

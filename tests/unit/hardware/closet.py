"""A closet of PCs as ``beowulf bench`` would find it: wires as slow as their slower end."""

from __future__ import annotations

from dataclasses import dataclass

from beowulf.hardware.speeds import MBIT
from beowulf.job.measured import AllreduceTime, Measured, NodeSpeed, Port, WireSpeed


@dataclass(frozen=True)
class PC:
    """One node: its speed, and what its port does in each direction, in Mbit/s."""

    gflops: float = 100.0
    out: float = 940.0
    into: float = 940.0
    both: float = 1.0
    """What is left of each direction while the other one is busy: 0.5 for half duplex."""
    duplex: str | None = None


def closet(*pcs: PC, sums: tuple[AllreduceTime, ...] = ()) -> Measured:
    """Return the measurements of nodes called n1, n2, ..."""
    names = {f"n{number}": pc for number, pc in enumerate(pcs, 1)}
    wires = []
    for source, here in names.items():
        for target, there in names.items():
            if source != target:
                there_and_back = (min(here.out, there.into), min(here.into, there.out))
                both = min(there_and_back) * min(here.both, there.both)
                wires.append(WireSpeed(source, target, there_and_back[0] * MBIT, both * MBIT, 1e-4))
    nodes = tuple(
        NodeSpeed(name, 4, pc.gflops * 1e9, 1e10, (Port("eth0", None, pc.duplex),))
        for name, pc in names.items()
    )
    return Measured("2026-11-25T12:00:00.000+00:00", nodes, tuple(wires), sums)

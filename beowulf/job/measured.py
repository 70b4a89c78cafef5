"""What a cluster's nodes and wires were measured to do: one small file, read on both sides.

``beowulf bench`` writes it; ``beowulf predict`` and training on the nodes read it.
It lies in the directory of the job that measured, and the newest one beside the directory of
all jobs (:func:`newest_of`). Its fields::

    schema       1
    measured_at  when, ISO 8601 in UTC
    nodes        name, cores, flops (float32 matrix product, operations/s), memory_bytes_per_s
                 (a copy's reading and writing), ports (name, speed_mbit and duplex as the
                 kernel tells them, or null)
    wires        source, target, bytes_per_s (one way alone), both_bytes_per_s (each way, both
                 at once), latency_s (half of there and back): one entry per direction
    allreduce    size_bytes, seconds: the sum over all nodes at once, by size
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from beowulf.durable import read_json

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
NEWEST = "measured.json"


@dataclass(frozen=True)
class Port:
    """A network port as the kernel sees it; None is what it does not tell."""

    name: str
    speed_mbit: int | None
    duplex: str | None


@dataclass(frozen=True)
class NodeSpeed:
    """What one node computes and copies in a second, all of its cores together."""

    name: str
    cores: int
    flops: float
    memory_bytes_per_s: float
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class WireSpeed:
    """What goes from one node to another in a second."""

    source: str
    target: str
    bytes_per_s: float
    both_bytes_per_s: float
    latency_s: float


@dataclass(frozen=True)
class AllreduceTime:
    """How long it takes to sum ``size_bytes`` over all nodes."""

    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """All that one run of ``beowulf bench`` found."""

    measured_at: str
    nodes: tuple[NodeSpeed, ...]
    wires: tuple[WireSpeed, ...] = ()
    allreduce: tuple[AllreduceTime, ...] = ()

    def age_s(self, now: datetime | None = None) -> float:
        """Return how long ago it was measured, in seconds; never less than 0."""
        then = datetime.fromisoformat(self.measured_at)
        return max(0.0, ((now or datetime.now(UTC)) - then).total_seconds())

    def to_json(self) -> dict[str, Any]:
        """Return the file's content."""
        return {"schema": SCHEMA, **asdict(self)}


def parse_measured(document: object) -> Measured | None:
    """Return what a file's content says, or None if it is none of ours or damaged."""
    try:
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            return None
        return Measured(
            measured_at=_moment(document["measured_at"]),
            nodes=tuple(_node(entry) for entry in document["nodes"]),
            wires=tuple(_wire(entry) for entry in document["wires"]),
            allreduce=tuple(
                AllreduceTime(int(entry["size_bytes"]), _positive(entry["seconds"]))
                for entry in document["allreduce"]
            ),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def newest_of(jobs: Path) -> Path:
    """Return where the newest measurements lie, given the directory of all of a user's jobs.

    In a rank, that is ``JobDirectory.of_this_rank().path.parent``.
    """
    return jobs.parent / NEWEST


def read_measured(path: Path) -> Measured | None:
    """Return what a file says; None where there is no such file or it is damaged."""
    return parse_measured(read_json(path))


def _node(entry: dict[str, Any]) -> NodeSpeed:
    ports = tuple(
        Port(str(port["name"]), port["speed_mbit"], port["duplex"]) for port in entry["ports"]
    )
    return NodeSpeed(
        str(entry["name"]),
        int(entry["cores"]),
        _positive(entry["flops"]),
        _positive(entry["memory_bytes_per_s"]),
        ports,
    )


def _wire(entry: dict[str, Any]) -> WireSpeed:
    return WireSpeed(
        str(entry["source"]),
        str(entry["target"]),
        _positive(entry["bytes_per_s"]),
        _positive(entry["both_bytes_per_s"]),
        _positive(entry["latency_s"]),
    )


def _positive(value: Any) -> float:
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{value!r} is not above 0")
    return number


def _moment(text: Any) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return str(text)

"""What the limit model knows of a node, of the wire between nodes, and of a training job."""

from __future__ import annotations

import math
from dataclasses import dataclass

from beowulf.errors import InvalidInput


@dataclass(frozen=True)
class Node:
    """One rank's machine: a share of ``s`` samples takes ``overhead_s + s / samples_per_s``.

    An empty share takes no time. ``most_samples`` bounds the share, for want of memory.

    Raises:
        InvalidInput: A number makes no sense.
    """

    samples_per_s: float
    overhead_s: float = 0.0
    most_samples: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no machine can have."""
        _refuse_unless_positive("samples_per_s", self.samples_per_s)
        _refuse_negative("overhead_s", self.overhead_s)
        _refuse_negative("most_samples", self.most_samples or 0)

    def compute_s(self, samples: float) -> float:
        """Return how long a share takes this node, in seconds."""
        return self.overhead_s + samples / self.samples_per_s if samples else 0.0


@dataclass(frozen=True)
class Wire:
    """What each node can send, and receive at the same time, in bytes per second, by TCP.

    ``latency_s`` is the time that an empty message takes from one node to another.

    Raises:
        InvalidInput: There is no node, or a number makes no sense.
    """

    bytes_per_s: tuple[float, ...]
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers that no wire can have."""
        if not self.bytes_per_s:
            raise InvalidInput("bytes_per_s", "there is no node", "give one number per node")
        for rate in self.bytes_per_s:
            _refuse_unless_positive("bytes_per_s", rate)
        _refuse_negative("latency_s", self.latency_s)

    @property
    def nodes(self) -> int:
        """How many nodes hang on the wire."""
        return len(self.bytes_per_s)


@dataclass(frozen=True)
class Job:
    """What one training step has to do, whoever does it.

    ``forward_share`` is the part of a step's compute in which no gradient is ready yet;
    the backward pass of most networks costs twice the forward pass. Gradients are sent
    in pieces of ``bucket_bytes``.

    Raises:
        InvalidInput: A number makes no sense.
    """

    batch: int
    gradient_bytes: float
    forward_share: float = 1 / 3
    bucket_bytes: float = 1e6

    def __post_init__(self) -> None:
        """Refuse numbers that no job can have."""
        _refuse_unless_positive("batch", self.batch)
        _refuse_negative("gradient_bytes", self.gradient_bytes)
        _refuse_unless_positive("bucket_bytes", self.bucket_bytes)
        if not 0 <= self.forward_share <= 1:
            raise InvalidInput("forward_share", f"{self.forward_share} is no share", "give 0 to 1")


def _refuse_unless_positive(field: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(field, f"{value} is not above 0", "give a number above 0")


def _refuse_negative(field: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInput(field, f"{value} is not 0 or more", "give a number of 0 or more")

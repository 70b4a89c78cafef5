"""How the newest steps of a training were shared out, and how fast each rank is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class RankPace:
    """One rank: its host, its part of a batch, how long that takes and how fast that is."""

    rank: int
    host: str | None
    share: int
    compute_s: float
    samples_per_s: float | None


@dataclass(frozen=True)
class Paces:
    """The ranks, and the parts of a step, as medians of the newest steps with these shares.

    ``wire_s`` is what a step spends on exchanging gradients, less what happens meanwhile;
    None where nothing is exchanged.
    """

    steps: int
    step_s: float
    wire_s: float | None
    ranks: tuple[RankPace, ...]

    def on_hosts(self, hosts: Mapping[int, str]) -> Paces:
        """Return the same with each rank's host, where one is known."""
        placed = (replace(rank, host=hosts.get(rank.rank)) for rank in self.ranks)
        return replace(self, ranks=tuple(placed))

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in every listing's JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Paces:
        """Return what ``to_json`` wrote.

        Raises:
            TypeError, KeyError: Something is missing.
        """
        return cls(**value | {"ranks": tuple(RankPace(**rank) for rank in value["ranks"])})


def paces_of(lines: Sequence[dict[str, Any]]) -> Paces | None:
    """Sum up the newest metrics; None if they say nothing of single ranks.

    Lines without the numbers that this needs are passed over.
    """
    lines = [line for line in lines if _is_complete(line)]
    if not lines:
        return None
    from statistics import median  # noqa: PLC0415 - slow to import, and most records have none

    world_size = len(lines[-1]["shares"])
    lines = [line for line in lines if len(line["shares"]) == world_size]
    batch = max(line["samples"] for line in lines)  # the last one of an epoch may be smaller
    shares = next(line["shares"] for line in reversed(lines) if line["samples"] == batch)
    alike = [line for line in lines if line["shares"] == shares]
    wire_s = [line["wire_s"] for line in alike if _is_time(line.get("wire_s"))]
    return Paces(
        steps=len(alike),
        step_s=median(line["step_s"] for line in alike),
        wire_s=median(wire_s) if wire_s else None,
        ranks=tuple(
            RankPace(
                rank,
                None,
                shares[rank],
                median(line["compute_s"][rank] for line in alike),
                _speed(lines, rank),
            )
            for rank in range(world_size)
        ),
    )


def _speed(lines: Sequence[dict[str, Any]], rank: int) -> float | None:
    """Return the median of a rank's samples per second; None if it never had any."""
    from statistics import median  # noqa: PLC0415 - slow to import

    speeds = [
        line["shares"][rank] / line["compute_s"][rank]
        for line in lines
        if line["shares"][rank] and line["compute_s"][rank] > 0
    ]
    return median(speeds) if speeds else None


def _is_complete(line: dict[str, Any]) -> bool:
    shares, times = line.get("shares"), line.get("compute_s")
    return (
        isinstance(shares, list)
        and isinstance(times, list)
        and len(shares) == len(times) > 0
        and all(isinstance(share, int) and share >= 0 for share in shares)
        and all(_is_time(seconds) for seconds in [*times, line.get("step_s")])
        and isinstance(line.get("samples"), int)
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0

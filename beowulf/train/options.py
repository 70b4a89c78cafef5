"""Ways to average that have options. Each can be given to ``Run(averaging=...)``.

A name alone, such as ``"powersgd"``, means the options' defaults. docs/strategies.md says what
each costs, what it changes, and when it pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import TrainingError
from beowulf.limits.quantities import Wire
from beowulf.limits.wire import best_parts
from beowulf.train.links import measured_links, parse_links
from beowulf.train.parts import InHalfParts, InParts
from beowulf.train.powersgd import LowRank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpi4py import MPI


ALLOWED = ("fp16",)  # what auto can choose by word


@dataclass(frozen=True)
class Fp16:
    """Send gradients as 16-bit floats, scaled message by message."""

    def exchange(self, comm: MPI.Intracomm) -> InHalfParts:  # noqa: ARG002 - as Weighted has it
        """Return a fresh exchange."""
        return InHalfParts()


@dataclass(frozen=True)
class Weighted:
    """Let ranks with faster wires add up more, so that a slow one moves its own part only.

    Args:
        links: How fast each rank's wire is, one number per rank, in any unit, or as
            ``"100:1000:1000"``. None to have it measured when the run is opened.
        fp16: Whether to send 16-bit floats besides.
    """

    links: str | Sequence[float] | None = None
    fp16: bool = False

    def exchange(self, comm: MPI.Intracomm) -> InParts:
        """Return a fresh exchange. Collective: a missing rank leaves the others waiting.

        Raises:
            TrainingError: The links are not one speed for each rank.
        """
        links = self.links
        speeds = measured_links(comm) if links is None else parse_links(links, comm.size)
        weights = best_parts(Wire(speeds))
        return InHalfParts(weights) if self.fp16 else InParts(weights)


@dataclass(frozen=True)
class PowerSGD:
    """Send matrices as two thin ones, and what they leave out with the next step's.

    Args:
        rank: How many columns the thin ones have. More is nearer to the whole, and dearer.
        uncompressed_steps: So many first steps are sent whole, while gradients still change
            their directions.
    """

    rank: int = 4
    uncompressed_steps: int = 0

    def __post_init__(self) -> None:
        at_least("powersgd: rank", self.rank, 1)
        at_least("powersgd: uncompressed_steps", self.uncompressed_steps, 0)

    def exchange(self, comm: MPI.Intracomm) -> LowRank:  # noqa: ARG002 - as Weighted has it
        """Return a fresh exchange."""
        return LowRank(self.rank, self.uncompressed_steps)


@dataclass(frozen=True)
class DiLoCo:
    """Train apart for some steps, then take a common step towards the average.

    Args:
        inner_steps: How many steps each rank takes by itself.
        rate: How far the common step goes; 1 for to the average.
        momentum: Nesterov's momentum of the common steps; 0 for none.
        parameters: The names, as given to ``run.track``, of what is averaged. All PyTorch
            modules if empty, or the only thing that is tracked.
        fp16: Whether to send 16-bit floats.
    """

    inner_steps: int = 50
    rate: float = 0.7
    momentum: float = 0.6
    parameters: Sequence[str] = ()
    fp16: bool = False

    def __post_init__(self) -> None:
        at_least("diloco: inner_steps", self.inner_steps, 1)
        if not 0 < self.rate <= 2 or not 0 <= self.momentum < 1:
            raise TrainingError(
                f"averaging: diloco: rate {self.rate} must be above 0 and at most 2, "
                f"momentum {self.momentum} from 0 to below 1"
            )
        if isinstance(self.parameters, str):
            raise TrainingError(
                f"averaging: diloco: parameters must be a list of names: [{self.parameters!r}]"
            )


@dataclass(frozen=True)
class Auto:
    """Choose by measuring, among what changes nothing about the result.

    Args:
        allow: What it may choose besides, though it changes the result: ``"fp16"``.
        rest: Whether it may leave out machines that cost more than they give.
    """

    allow: Sequence[str] = ()
    rest: bool = True

    def __post_init__(self) -> None:
        unknown = [name for name in self.allow if name not in ALLOWED]
        if unknown or isinstance(self.allow, str):
            raise TrainingError(
                f"averaging: auto: allow {self.allow!r} must be a list of what it may choose "
                f"though it changes the result: {', '.join(ALLOWED)}"
            )


Options = Auto | Fp16 | Weighted | PowerSGD | DiLoCo


def at_least(what: str, value: int, least: int) -> None:
    """Raise TrainingError if an option is smaller than it may be."""
    if value < least:
        raise TrainingError(f"averaging: {what} {value} must be {least} or more")

"""Find out by trying whether sending during the backward pass makes steps shorter.

It does where a core, or a wait of the computation's own, is left for the thread that
sends; on a computer whose cores all compute, the two are in each other's way and steps
get longer. Nothing tells beforehand as surely as a few steps of each kind.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

LEARNING_STEPS = 2  # in which the script's habits are learned, and the caches filled
TURNS = 6  # of each kind


@dataclass
class Trial:
    """Steps by turns with and without overlap. Every rank counts the same steps."""

    with_s: list[float] = field(default_factory=list)
    without_s: list[float] = field(default_factory=list)
    early: int = 0
    _steps: int = 0

    @property
    def overlaps(self) -> bool:
        """Whether the step that begins now is to overlap."""
        return self._steps >= LEARNING_STEPS and self._steps % 2 == LEARNING_STEPS % 2

    @property
    def is_over(self) -> bool:
        """Whether all steps have been tried."""
        return self._steps >= LEARNING_STEPS + 2 * TURNS

    def note(self, seconds: float, early: int) -> None:
        """Note how long a step took, and how many buckets left early in it."""
        if self._steps >= LEARNING_STEPS:
            (self.with_s if self.overlaps else self.without_s).append(seconds)
            self.early += early
        self._steps += 1

    def medians(self) -> tuple[float, float]:
        """Return the seconds of a step with and of one without overlap."""
        return statistics.median(self.with_s), statistics.median(self.without_s)

"""What a run has counted so far, and what its result says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Tally:
    """One rank's count. A rank that rested goes on with the leading one's.

    Attributes:
        steps: Steps done, those before a checkpoint included.
        samples: Samples of the steps done in this attempt, over all ranks.
        training_s: How long these steps took.
        loss: The mean loss of the latest step, where there is one.
        planned: What the result says of the plan.
    """

    steps: int = 0
    samples: int = 0
    training_s: float = 0.0
    loss: float | None = None
    planned: dict[str, Any] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        """Return what the run's result says of its steps; nothing if there were none."""
        if not self.steps:
            return {}
        speed = self.samples / self.training_s if self.training_s else None
        told = {"final_loss": self.loss, "steps": self.steps, "samples_per_s": speed}
        return told | self.planned

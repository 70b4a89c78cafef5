"""What a step sent to the other ranks, and when the first of it was ready."""

from __future__ import annotations

import time


class Traffic:
    """Counts what travels in one step.

    Attributes:
        overlaps: Whether gradients may leave during the backward pass.
        sent_bytes: What this rank had added up.
        buckets: In how many pieces.
        first_ready_s: How long after the step's beginning its first gradient was ready; None if
            gradients do not leave early.
        tried: Seconds of a step with and without overlap, once both were tried; the same on
            every rank.
    """

    def __init__(self) -> None:
        self.overlaps = False
        self.sent_bytes = 0
        self.buckets = 0
        self.first_ready_s: float | None = None
        self.tried: tuple[float, float] | None = None
        self._began_at = 0.0

    def begin(self, *, overlaps: bool) -> None:
        """Begin to count anew."""
        self.overlaps = overlaps
        self.sent_bytes = self.buckets = 0
        self.first_ready_s = None
        self._began_at = time.perf_counter()

    def is_ready(self) -> None:
        """Note that a gradient is ready; the first one counts."""
        if self.first_ready_s is None:
            self.first_ready_s = time.perf_counter() - self._began_at

    def carries(self, size_bytes: int) -> None:
        """Note that a piece is added up."""
        self.sent_bytes += size_bytes
        self.buckets += 1

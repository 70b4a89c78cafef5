"""When in a step a rank computed, and how long the wire kept all of them waiting."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class StepTimer:
    """Times one rank's steps.

    A rank computes from the end of one averaging to the beginning of the next: it puts
    the gradients to use, takes a batch, works through its share. What happens between
    two steps (metrics, a checkpoint) is not computing.
    """

    def __init__(self) -> None:
        self._began_ns = 0
        self._computing_since_ns = 0
        self._averaged_ns = 0  # when this step's last averaging ended; 0 before the first
        self._averaged_before_ns = 0  # the same of the step before
        self._between_ns = 0
        self._done_ns = 0

    def begin(self) -> None:
        """Note that a step begins."""
        now_ns = self._began_ns = time.perf_counter_ns()
        # What came after the last averaging, of the step before, counts as of this one.
        after_ns = self._done_ns - self._averaged_ns if self._averaged_ns else 0
        self._between_ns = now_ns - self._done_ns
        self._computing_since_ns = now_ns - after_ns
        self._averaged_before_ns, self._averaged_ns = self._averaged_ns, 0

    def stop_computing(self) -> float:
        """Note that an averaging begins; return how long this rank has computed, in seconds."""
        return (time.perf_counter_ns() - self._computing_since_ns) / 1e9

    def go_on_computing(self) -> None:
        """Note that an averaging has ended."""
        self._computing_since_ns = self._averaged_ns = time.perf_counter_ns()

    def rest(self) -> None:
        """Note that the script is done with the step."""
        self._done_ns = time.perf_counter_ns()

    def end(self) -> int:
        """Note that a step ends; return how long it took, in nanoseconds."""
        return time.perf_counter_ns() - self._began_ns

    def wire_s(self, compute_s: Sequence[float], rank: int = 0) -> float | None:
        """Return how long even the last rank waited in this step, in seconds; on ``rank``.

        All ranks leave an averaging at the same time, so that the one that computes
        longest comes last to the next one. None if the step before, or this one, did not
        average.
        """
        if not (self._averaged_ns and self._averaged_before_ns and len(compute_s) > 1):
            return None
        last_s = max(*compute_s, compute_s[rank] + self._between_ns / 1e9)
        round_s = (self._averaged_ns - self._averaged_before_ns) / 1e9
        return max(0.0, round(round_s - last_s, 7))

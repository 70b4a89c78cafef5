"""What checkpoints cost the training, seen in how long steps take."""

from __future__ import annotations

from collections import deque
from statistics import fmean, median

QUIET_STEPS = 32
CHECKPOINTS = 8


class Toll:
    """Compares steps during which a checkpoint is copied and written with those before."""

    def __init__(self) -> None:
        self._quiet: deque[float] = deque(maxlen=QUIET_STEPS)
        self._costs: deque[float] = deque(maxlen=CHECKPOINTS)
        self._last: float | None = None
        self._copy_s: float | None = None  # while a checkpoint is being paid for
        self._span_s = 0.0
        self._steps = 0

    @property
    def cost_s(self) -> float:
        """What one checkpoint takes from the training; zero as long as none was made."""
        return max(0.0, fmean(self._costs)) if self._costs else 0.0

    def pause(self) -> None:
        """Forget when the last step was: what comes between it and the next is no step."""
        self._last = None

    def see(self, now: float, *, is_writing: bool) -> None:
        """Note the end of a step."""
        last, self._last = self._last, now
        if last is None:
            return
        if self._copy_s is None:
            self._quiet.append(now - last)
            return
        self._span_s += now - last
        self._steps += 1
        if not is_writing:
            self._settle(self._copy_s)

    def begin(self, copy_s: float) -> None:
        """Note that training stood still while the state was copied, and that writing begins."""
        self._copy_s = copy_s
        self._span_s, self._steps = 0.0, 0

    def _settle(self, copy_s: float) -> None:
        usual_s = median(self._quiet) if self._quiet else None
        # Less than nothing is noise, and cancels out with what is too much at other times.
        self._costs.append(copy_s if usual_s is None else self._span_s - self._steps * usual_s)
        self._copy_s = None

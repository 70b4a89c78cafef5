"""How fast one rank computes, told from the times that its shares took.

A share of s samples takes c(s + p) seconds: c seconds per sample, and what a step costs
however small the share is, counted in samples. A machine that slows down does all of it
more slowly, so that p stays and c can be told anew from a few steps.

Every rank works this out for all ranks and must come to the same numbers to the last
bit. So nothing is used here but what every processor computes alike: sums, products,
comparisons and square roots, no logarithms.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW_STEPS = 64
CHANGE_STEPS = 3  # so many in a row are no hiccup any more
CHANGE_S = 0.25  # if they last longer than what the operating system does in between
PROOF_STEPS = 6  # per spread: where nine in ten differ by half or more, it takes more
CHANGE_AT_LEAST = 0.15
CHANGE_IN_NOISES = 2.5
USUAL_PART = 0.9  # of all steps: a time among these is not odd, however noisy they are
FEW_STEPS = 8
ERROR_AT_FIRST, ERROR_AT_LEAST = 0.06, 0.012  # times 1 / sqrt(steps)
NEAR = 1.1  # shares that differ by no more than this factor are as good as equal
FAR = 1.3  # shares that differ by such a factor tell what a step costs besides
BETWEEN = 2.0  # once that is known, times can be compared over such a factor
SHORTEST_S, LONGEST_S = 1e-9, 1e9  # whatever a clock may say
MOST_OVERHEAD = 8.0  # in largest shares; where time does not depend on the share at all


class Pace:
    """What is known of one rank's speed. Feed it every step in which it had a share.

    Attributes:
        per_sample_s: Seconds per sample; 0 until it has been estimated.
        overhead: What a step costs besides, in samples.
    """

    def __init__(self, usual: int) -> None:
        self.per_sample_s = 0.0
        self.overhead = 0.0
        self._usual = max(1, usual)
        self._seen: deque[tuple[int, float]] = deque(maxlen=WINDOW_STEPS)
        self._unsettled = 0
        self._odd = 0
        self._odd_s = 0.0
        self._proof_steps = CHANGE_STEPS
        self._slower, self._faster, self._spread = 1.0, 1.0, 0.0
        self._too_slow_s, self._too_fast_s = math.inf, 0.0  # nothing is odd yet
        self._knows_overhead = False

    @property
    def is_odd(self) -> bool:
        """Say whether the last step was so unlike the others that two more would prove a change."""
        return self._odd != 0

    @property
    def largest(self) -> int:
        """The largest share that was seen lately."""
        return max((samples for samples, _ in self._seen), default=0)

    def expect(self, usual: int) -> None:
        """Note which share this rank has from now on; steps with other shares are exceptions.

        A rank without a share is probed with one sample.
        """
        if usual and not _are_within(NEAR, usual, self._usual):
            # What differs now may be due to the share, so that it proves no change of speed.
            self._unsettled = CHANGE_STEPS
        self._usual = max(1, usual)
        self._odd = 0
        self._expect_times()

    def see(self, samples: int, seconds: float, step_s: float) -> bool:
        """Take in a step, which took all ranks ``step_s``; say if the speed changed for good."""
        self._seen.append((samples, seconds))
        if samples != self._usual:
            return False
        if self._unsettled:
            self._unsettled -= 1
            return False
        if self._too_fast_s < seconds < self._too_slow_s:
            self._odd = 0
            return False
        return self._see_odd(1 if seconds >= self._too_slow_s else -1, step_s)

    def _see_odd(self, direction: int, step_s: float) -> bool:
        """Count steps in a row that were too slow, or too fast; say whether they are enough."""
        goes_on = self._odd * direction > 0
        self._odd = self._odd + direction if goes_on else direction
        self._odd_s = self._odd_s + step_s if goes_on else step_s
        if abs(self._odd) < self._proof_steps or self._odd_s < CHANGE_S:
            return False
        kept = [step for step in self._seen if self._is_usual(step[0])][-abs(self._odd) :]
        self._seen.clear()
        self._seen.extend(kept)
        self._odd = 0
        return True

    def _is_usual(self, samples: int) -> bool:
        return _are_within(BETWEEN if self._knows_overhead else NEAR, samples, self._usual)

    def estimate(self) -> float:
        """Estimate anew from the steps seen, and return the relative error to expect of it.

        The estimate is a median, so that a slow step now and then counts for nothing. Its
        error is told from the middle of all paces seen, however they are distributed: the
        median of n lies within sqrt(n)/2 places of the middle in two of three cases (David
        and Nagaraja, "Order statistics", 2003, section 7.1). Infinite for too few steps.
        """
        usual = [step for step in self._seen if self._is_usual(step[0])]
        if len(usual) < CHANGE_STEPS:
            return math.inf
        self._estimate_overhead()
        paces = sorted(seconds / (samples + self.overhead) for samples, seconds in usual)
        self.per_sample_s = min(max(median(paces), SHORTEST_S), LONGEST_S)
        self._see_spread(paces)
        root = math.sqrt(len(paces))
        low, high = _middle(paces, root)
        # A few steps may be alike by chance.
        least = ERROR_AT_LEAST if len(paces) >= FEW_STEPS else max(ERROR_AT_FIRST, self._spread)
        return max((high - low) / 2 / self.per_sample_s, least / root)

    def _see_spread(self, paces: Sequence[float]) -> None:
        """Work out which paces of a usual share are odd, from all paces in ascending order."""
        noise = 1.4826 * median(abs(pace / self.per_sample_s - 1) for pace in paces)
        tolerance = 1 + max(CHANGE_AT_LEAST, CHANGE_IN_NOISES * noise)
        fast, slow = _middle(paces, USUAL_PART * len(paces))
        slower = max(tolerance, slow / self.per_sample_s)
        faster = max(tolerance, self.per_sample_s / max(fast, SHORTEST_S))
        spread = (slow - fast) / 2 / self.per_sample_s
        if len(paces) < FEW_STEPS:  # how noisy a machine is does not change with its speed
            slower, faster = max(slower, self._slower), max(faster, self._faster)
            spread = max(spread, self._spread)
        self._slower, self._faster, self._spread = slower, faster, spread
        self._proof_steps = max(CHANGE_STEPS, math.ceil(min(PROOF_STEPS * spread, WINDOW_STEPS)))
        self._expect_times()

    def _expect_times(self) -> None:
        expected_s = self.compute_s(self._usual)
        self._too_slow_s = expected_s * self._slower if expected_s else math.inf
        self._too_fast_s = expected_s / self._faster

    def _estimate_overhead(self) -> None:
        """Compare the smallest share with the largest, if they are far enough apart."""
        times: dict[int, list[float]] = {}
        for samples, seconds in self._seen:
            times.setdefault(samples, []).append(seconds)
        known = sorted(samples for samples, some in times.items() if len(some) >= self._proof_steps)
        if len(known) < 2 or known[-1] < FAR * known[0]:
            return
        small, large = known[0], known[-1]
        small_s, large_s = median(times[small]), median(times[large])
        most = MOST_OVERHEAD * large
        slope = (large_s - small_s) / (large - small)
        found = small_s / slope - small if slope * (most + small) > small_s else most
        found = max(0.0, found)
        self.overhead = (self.overhead + found) / 2 if self._knows_overhead else found
        self._knows_overhead = True

    def compute_s(self, samples: int) -> float:
        """Return how long a share takes by what is known, in seconds; none takes no time."""
        return self.per_sample_s * (samples + self.overhead) if samples else 0.0


def _middle(ascending: Sequence[float], width: float) -> tuple[float, float]:
    """Return the ends of the middle part, ``width`` numbers wide, or a little wider."""
    last = len(ascending) - 1
    first = max(0, math.floor((last - width) / 2))
    return ascending[first], ascending[last - first]


def _are_within(factor: float, one: int, other: int) -> bool:
    return one <= factor * other and other <= factor * one

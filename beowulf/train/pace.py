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

WINDOW_STEPS = 64
CHANGE_STEPS = 3  # so many in a row are no hiccup any more
CHANGE_S = 0.02  # nor is what lasts longer than a time slice of the operating system
CHANGE_AT_LEAST = 0.15
CHANGE_IN_NOISES = 2.5
NOISE_AT_LEAST = 0.01
NOISE_AT_FIRST = 0.05  # until there are enough steps to tell
FEW_STEPS = 8
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
        noise: The usual relative deviation of a single step.
    """

    def __init__(self, usual: int) -> None:
        self.per_sample_s = 0.0
        self.overhead = 0.0
        self.noise = NOISE_AT_FIRST
        self._usual = max(1, usual)
        self._seen: deque[tuple[int, float]] = deque(maxlen=WINDOW_STEPS)
        self._unsettled = 0
        self._odd = 0
        self._odd_s = 0.0
        self._too_slow_s, self._too_fast_s = math.inf, -math.inf  # nothing is odd yet
        self._knows_overhead = False

    @property
    def is_odd(self) -> bool:
        """Say whether the last step was so unlike the others that two more would prove a change."""
        return self._odd != 0

    def expect(self, usual: int) -> None:
        """Note which share this rank has from now on; steps with other shares are exceptions.

        A rank without a share is probed with one sample.
        """
        if usual and not _are_within(NEAR, usual, self._usual):
            # What differs now may be due to the share, so that it proves no change of speed.
            self._unsettled = CHANGE_STEPS
        self._usual = max(1, usual)
        self._odd = 0
        self._set_limits()

    def see(self, samples: int, seconds: float) -> bool:
        """Take in one step and say whether the speed has changed for good."""
        self._seen.append((samples, seconds))
        if samples != self._usual:
            return False
        if self._unsettled:
            self._unsettled -= 1
            return False
        if self._too_fast_s < seconds < self._too_slow_s:
            self._odd = 0
            return False
        return self._see_odd(1 if seconds >= self._too_slow_s else -1, seconds)

    def _see_odd(self, direction: int, seconds: float) -> bool:
        """Count steps in a row that were too slow, or too fast; say whether they are enough."""
        goes_on = self._odd * direction > 0
        self._odd = self._odd + direction if goes_on else direction
        self._odd_s = self._odd_s + seconds if goes_on else seconds
        if abs(self._odd) < CHANGE_STEPS or self._odd_s < CHANGE_S:
            return False
        kept = [step for step in self._seen if self._is_usual(step[0])][-CHANGE_STEPS:]
        self._seen.clear()
        self._seen.extend(kept)
        self._odd = 0
        return True

    def _is_usual(self, samples: int) -> bool:
        return _are_within(BETWEEN if self._knows_overhead else NEAR, samples, self._usual)

    def estimate(self) -> float:
        """Estimate anew from the steps seen, and return the relative error to expect of it.

        Medians, so that a slow step now and then counts for nothing. The error is that
        of a median, 1.25 noise / sqrt(steps); infinite while too few steps were seen.
        """
        usual = [step for step in self._seen if self._is_usual(step[0])]
        if len(usual) < CHANGE_STEPS:
            return math.inf
        self._estimate_overhead()
        paces = [seconds / (samples + self.overhead) for samples, seconds in usual]
        self.per_sample_s = min(max(median(paces), SHORTEST_S), LONGEST_S)
        noise = 1.4826 * median(abs(pace / self.per_sample_s - 1) for pace in paces)
        self.noise = max(noise, NOISE_AT_LEAST if len(usual) >= FEW_STEPS else NOISE_AT_FIRST)
        self._set_limits()
        return 1.25 * self.noise / math.sqrt(len(usual))

    def _set_limits(self) -> None:
        """Work out which times of a usual share are odd."""
        if self.per_sample_s:
            expected_s = self.compute_s(self._usual)
            tolerance = 1 + max(CHANGE_AT_LEAST, CHANGE_IN_NOISES * self.noise)
            self._too_slow_s, self._too_fast_s = expected_s * tolerance, expected_s / tolerance

    def _estimate_overhead(self) -> None:
        """Compare the smallest share with the largest, if they are far enough apart."""
        times: dict[int, list[float]] = {}
        for samples, seconds in self._seen:
            times.setdefault(samples, []).append(seconds)
        known = sorted(samples for samples, some in times.items() if len(some) >= CHANGE_STEPS)
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


def _are_within(factor: float, one: int, other: int) -> bool:
    return one <= factor * other and other <= factor * one

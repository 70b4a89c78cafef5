"""How often to save: so that saving and doing steps again cost the least together.

J. W. Young, "A first order approximation to the optimum checkpoint interval", Communications
of the ACM 17(9), 1974: with a checkpoint that costs C and M between two failures, saving every
T costs C/T of the time, and a failure T/2 on average, so T/(2M) of it; the sum is least where
T is the square root of 2CM. J. T. Daly, "A higher order estimate of the optimum checkpoint
interval for restart dumps", Future Generation Computer Systems 22, 2006, refines it; where C
is below M/1000 the difference is below 2 %, and where C is above 2M the best interval is M.
"""

from __future__ import annotations

import math

# A checkpoint costs others too: all jobs of a cluster write to the disk of one head.
LEAST_S = 10.0


def interval_s(cost_s: float, between_failures_s: float) -> float:
    """Return how long to wait between two checkpoints.

    ``cost_s`` is what a checkpoint takes from the training, not how long it takes to write.
    """
    best_s = min(math.sqrt(2 * cost_s * between_failures_s), between_failures_s)
    return max(best_s, LEAST_S)

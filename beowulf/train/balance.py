"""Let shares of the batch follow each rank's measured speed.

Every rank has a balancer and feeds it the same numbers, those that were gathered with
the step; so all come to the same shares without another word.

Shares change when that makes the compute of a step shorter by more than the measured
noise could pretend, and by 3 % at least. They are looked at after 3, 5, 8, 16 and 32 steps
and every 32 from there on, though not more than ten times a second, and at once when 3 steps
in a row tell that a rank has become slower or faster: a single slow step is no reason, nor is
it part of what is learned
(docs/decisions/0025-shares-from-medians.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from beowulf.limits.compute import best_shares, has_memory
from beowulf.limits.quantities import Node
from beowulf.train.pace import CHANGE_S, CHANGE_STEPS, Pace
from beowulf.train.shares import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOOK_AFTER_STEPS = (CHANGE_STEPS, 5, 8, 16, 32)
LOOK_EVERY_STEPS = 32
LOOK_EVERY_S = 0.1  # then: a look takes longer than a few small steps
SETTLED_AFTER_STEPS = 16
GAIN_AT_LEAST = 0.03
GAIN_IN_ERRORS = 5.0  # the slowest of many equal ranks seems to be two or three errors slow
SETTLING_GAIN_IN_ERRORS = 1.0  # once they had to change, shares may as well be made good
MOST_GROWTH = 4  # of a share at once; larger ones are another matter
PROBE_EVERY_STEPS = 50
PROBE_COST = 0.02  # the most that probing may cost, as a part of all steps


class Balancer:
    """Find the shares with which all ranks end computing at the same moment.

    Shares are equal at first. A rank that is best left without samples gets one now and
    then, to see whether that is still so.

    Args:
        world_size: The number of ranks.
        global_batch: Samples per step.
    """

    def __init__(self, world_size: int, global_batch: int) -> None:
        self._global_batch = global_batch
        self._shares = tuple(split(global_batch, (1.0,) * world_size))
        self._paces = [Pace(share) for share in self._shares]
        self._steps = 0
        self._seconds = 0.0  # of computing, since the shares were changed
        self._look_at_s = CHANGE_S
        self._look_at = CHANGE_STEPS
        self._is_settling = False
        self._until_probe = [0] * world_size
        self._resting: frozenset[int] = frozenset()
        self.has_changed = False  # whether the latest step proved that a rank's speed has
        self.weights: tuple[float, ...] = self._shares

    @property
    def nodes(self) -> list[Node | None]:
        """What is known of each rank; None of one that has not been seen computing."""
        return [
            Node(1 / pace.per_sample_s, pace.per_sample_s * pace.overhead)
            if pace.per_sample_s
            else None
            for pace in self._paces
        ]

    @property
    def is_informed(self) -> bool:
        """Whether the speed of every rank that has samples is known."""
        known = zip(self._paces, self._shares, strict=True)
        return all(pace.per_sample_s for pace, share in known if share)

    def rest(self, ranks: Iterable[int]) -> None:
        """Leave these ranks without samples from now on, and don't ask them with one."""
        self._resting = frozenset(ranks)
        if any(self._shares[rank] for rank in self._resting):
            best = self._best_shares()
            if not any(best):  # nothing is known of the others yet
                others = [float(rank not in self._resting) for rank in range(len(self._paces))]
                best = split(self._global_batch, others)
            self._change(best)
        self.weights = self._shares

    def observe(self, shares: Sequence[int], compute_s: Sequence[float]) -> None:
        """Take in a step and set ``weights`` for the next one.

        Args:
            shares: How many samples each rank had.
            compute_s: How long each rank computed on them, in seconds, without waiting.
        """
        has_changed = False
        step_s = max(compute_s)
        for pace, share, seconds in zip(self._paces, shares, compute_s, strict=True):
            if share and pace.see(share, seconds, step_s):
                has_changed = True
        self.has_changed = has_changed
        self._steps = CHANGE_STEPS if has_changed else self._steps + 1
        self._seconds += step_s
        if has_changed or (self._steps >= self._look_at and self._seconds >= self._look_at_s):
            self._look()
            self._look_at = _next_look(self._steps)
            is_new = self._look_at <= LOOK_EVERY_STEPS
            self._look_at_s = CHANGE_S if is_new else self._seconds + LOOK_EVERY_S
        self.weights = self._shares if all(self._shares) else self._probing(shares)

    def _look(self) -> None:
        """Change the shares if that is certain to pay."""
        errors = [pace.estimate() for pace in self._paces]
        shares = self._best_shares()
        if not any(shares):
            return
        gain = self._compute_s(self._shares) / self._compute_s(shares) - 1
        known = zip(errors, self._paces, self._shares, strict=True)
        doubt = max(
            (error for error, pace, share in known if share and pace.per_sample_s), default=0
        )
        if self._steps > SETTLED_AFTER_STEPS:
            self._is_settling = False
        doubts = SETTLING_GAIN_IN_ERRORS if self._is_settling else GAIN_IN_ERRORS
        if gain > max(GAIN_AT_LEAST, doubts * doubt):
            self._change(shares)

    def _change(self, shares: Sequence[int]) -> None:
        self._shares = tuple(shares)
        self._steps, self._seconds = 0, 0.0
        self._is_settling = True
        for rank, (pace, share) in enumerate(zip(self._paces, shares, strict=True)):
            pace.expect(share)
            self._until_probe[rank] = PROBE_EVERY_STEPS if pace.per_sample_s else 0

    def _best_shares(self) -> list[int]:
        """Return the best shares by what is known; none at all if that is not enough."""
        shares = [0] * len(self._paces)
        known = [
            rank
            for rank, pace in enumerate(self._paces)
            if pace.per_sample_s and rank not in self._resting
        ]
        nodes = [self._node_of(self._paces[rank]) for rank in known]
        if self._resting:  # few are left, so that they must take what there is
            nodes = [replace(node, most_samples=None) for node in nodes]
        if not nodes or not has_memory(nodes, self._global_batch):  # others must be asked first
            return shares
        for rank, share in zip(known, best_shares(nodes, self._global_batch), strict=True):
            shares[rank] = share
        return shares

    def _node_of(self, pace: Pace) -> Node:
        """Return what is known of a rank; of much larger shares than it had, nothing is known."""
        equal = -(-self._global_batch // len(self._paces))
        most = max(equal, MOST_GROWTH * pace.largest)
        return Node(1 / pace.per_sample_s, pace.per_sample_s * pace.overhead, most)

    def _compute_s(self, shares: Sequence[int]) -> float:
        return max(pace.compute_s(share) for pace, share in zip(self._paces, shares, strict=True))

    def _probing(self, shares: Sequence[int]) -> tuple[int, ...]:
        """Return the shares, with a sample for one rank that has none, if its turn has come."""
        step_s = self._compute_s(self._shares)
        chosen: int | None = None
        for rank, pace in enumerate(self._paces):
            if self._shares[rank] or rank in self._resting:
                continue
            if shares[rank]:  # it was its turn; again at once if that was a surprise
                cost = pace.compute_s(1) / step_s - 1 if step_s else 0.0
                pause = max(PROBE_EVERY_STEPS, round(cost / PROBE_COST))
                self._until_probe[rank] = 1 if pace.is_odd or not pace.per_sample_s else pause
            self._until_probe[rank] -= 1
            if self._until_probe[rank] <= 0 and chosen is None:
                chosen = rank
        if chosen is None:
            return self._shares
        probing = list(self._shares)
        probing[probing.index(max(probing))] -= 1
        probing[chosen] += 1
        return tuple(probing)


def _next_look(steps: int) -> int:
    """Return after how many steps to look the next time: seldom, once nothing has changed."""
    soon = (after for after in LOOK_AFTER_STEPS if after > steps)
    return next(soon, steps - steps % LOOK_EVERY_STEPS + LOOK_EVERY_STEPS)

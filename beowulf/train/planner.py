"""Decide in the course of a run how it averages, and who takes part.

The first steps are steps like all others, by ``dense`` among all ranks, with and without
overlap by turns; from them the ranks' speeds and the wire's are learned. Then the rank that
leads makes a plan, tells it to the others, and looks after some steps whether it keeps what it
promised: nothing is as sure as having tried. When a rank's speed changes for good, there may be
another plan, but not often.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

from beowulf.limits.quantities import Job, Node, Wire
from beowulf.train.plan import (
    DENSE,
    FP16,
    SHARED_BYTES_PER_S,
    Plan,
    Survey,
    choose,
    hidden_part,
    offers,
    predict,
)
from beowulf.train.verdict import PREFIX, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from beowulf.train.auto import Automatic
    from beowulf.train.balance import Balancer

GAIN_AGAIN = 0.15  # to call others back for
EARLY_AFTER_STEPS = 6  # for what needs no more to be certain
EARLY_GAIN = 1.0
PLAN_AFTER_STEPS = 16  # overlap has been tried, and shares are good
COLD_STEPS = 2
VERIFY_STEPS = 10
WORSE = 1.05
PLAN_AGAIN_STEPS = 8  # after a change of speed, until shares are good again
AT_MOST_EVERY_STEPS = 200
KEPT_STEPS = 500
LEARNED_STEPS = 12


@dataclass(frozen=True)
class Told:
    """What the leading rank tells the others. ``words`` are for people."""

    plan: Plan
    words: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """Where a planner stands: the plan, whether it is the last one, how seldom there are others."""

    plan: Plan | None
    is_over: bool
    every_steps: int


class Planner:
    """Plans for one run. Every rank that takes part has one and feeds it every step.

    Args:
        averaging: What is to follow the plans.
        batch: Samples per step.
        hosts: Each rank's host, by name.
        may_rest: Says whether ranks may be left out, by what the script has done so far.
        lost: The ranks that there are no more.

    Attributes:
        plan: What is followed; None until something is known.
    """

    def __init__(
        self,
        averaging: Automatic,
        batch: int,
        hosts: Sequence[str],
        may_rest: Callable[[], bool],
        lost: tuple[int, ...] = (),
    ) -> None:
        self.lost = lost
        self.averaging = averaging
        self.plan: Plan | None = None
        self.batch = batch
        self._hosts = tuple(hosts)
        self._may_rest = may_rest
        self._is_over = False  # nothing is planned any more
        self._every_steps = AT_MOST_EVERY_STEPS  # longer with each time that all begin anew
        self._survey: Survey | None = None
        self._before_s = 0.0
        self._said: tuple[str, ...] = ()
        self.begin_anew()

    def state(self) -> Planned:
        """Return what those who come back must know."""
        return Planned(self.plan, self._is_over, 2 * self._every_steps)

    def carry_on(self, lost: tuple[int, ...], planned: Planned) -> None:
        """Plan anew without those who were lost, as seldom as the others do."""
        self.lost = lost
        self.begin_anew(replace(planned, plan=None, is_over=False))

    def begin_anew(self, planned: Planned | None = None) -> None:
        """Learn again, from steps of all ranks; unless all has been decided."""
        if planned is not None:
            self.plan = planned.plan if planned.is_over else None
            self._is_over, self._every_steps = planned.is_over, planned.every_steps
        self._steps = 0
        self._since_plan = 0
        self._verify_at = self._again_at = -1
        self._steps_s: deque[float] = deque(maxlen=KEPT_STEPS)
        self._waits_s: deque[float] = deque(maxlen=LEARNED_STEPS)
        self._ready: deque[float] = deque(maxlen=LEARNED_STEPS)
        self._computes_s: deque[tuple[float, ...]] = deque(maxlen=LEARNED_STEPS)
        self._shares: tuple[int, ...] = ()

    def see(
        self,
        shares: tuple[int, ...],
        compute_s: tuple[float, ...],
        step_s: float,
        wire_s: float | None,
        *,
        has_changed: bool,
    ) -> None:
        """Take in a step. ``wire_s`` is asked of the leading rank only."""
        self._steps += 1
        self._since_plan += 1
        if self._since_plan > COLD_STEPS:
            self._steps_s.append(step_s)
        if has_changed and self.plan is not None and self._since_plan > self._every_steps:
            self._again_at = self._steps + PLAN_AGAIN_STEPS
        if self.plan is not None and self._steps > PLAN_AFTER_STEPS:
            return
        traffic = self.averaging.traffic
        self._computes_s.append(compute_s)
        self._shares = shares
        if traffic.overlaps:
            if traffic.first_ready_s is not None:
                self._ready.append(traffic.first_ready_s)
        elif wire_s is not None and self._steps > COLD_STEPS:
            self._waits_s.append(wire_s)

    def next_plan(self, balancer: Balancer | None, lead: int) -> Told | None:
        """Return another plan to follow, if there is one.

        Collective over the ranks that take part, at steps that all of them know.
        """
        if self._is_over:
            return None
        is_first = self.plan is None and self._is_time(balancer)
        is_again = self._steps == self._again_at
        if not (is_first or is_again or self._steps == self._verify_at):
            return None
        group: MPI.Intracomm = self.averaging.group
        may_rest: bool = group.allreduce(self.averaging.options.rest and self._may_rest(), MPI.LAND)
        told: Told | None = None
        if group.rank == 0:
            if is_first:
                told = self._first(balancer, lead, may_rest=may_rest)
            elif is_again:
                told = self._again(balancer, may_rest=may_rest)
            else:
                told = self._verify()
        told = group.bcast(told)
        if told is None:
            self._is_over |= self._steps == self._verify_at
            return None
        is_verdict = self._steps == self._verify_at
        self._is_over |= is_verdict
        self._verify_at = -1
        everybody = len(self._hosts) - len(self.lost)
        is_usual = told.plan.strategy.name == DENSE.name and len(told.plan.ranks) == everybody
        if not is_verdict and not is_usual:
            self._verify_at = self._steps + COLD_STEPS + VERIFY_STEPS
        self.plan, self._said = told.plan, told.words
        self._since_plan = 0
        self._steps_s.clear()
        return told

    def _is_time(self, balancer: Balancer | None) -> bool:
        """Say whether a first plan is to be made now: once speeds are known, if they are asked."""
        if self._steps < EARLY_AFTER_STEPS or not (balancer is None or balancer.is_informed):
            return False
        return self._steps >= PLAN_AFTER_STEPS or self._steps == EARLY_AFTER_STEPS

    def figures(self) -> dict[str, Any]:
        """Return what the result says: the plan, its prediction, how long its steps took."""
        if self.plan is None or not self._steps_s:
            return {}
        return {
            "strategy": self.plan.strategy.name,
            "predicted_step_s": self.plan.step_s,
            "step_s": median(self._steps_s),
        }

    def story(self) -> dict[str, Any]:
        """Return what the job's story says of the plan."""
        plan = self.plan
        if plan is None:
            return {}
        training = {*plan.ranks, *self.lost}
        resting = [rank for rank in range(len(self._hosts)) if rank not in training]
        return {
            "strategy": plan.strategy.name,
            "overlap": plan.strategy.overlaps,
            "resting": resting,
            "predicted_step_s": plan.step_s,
            "limited_by": plan.time.limited_by,
            "said": [word.removeprefix(PREFIX) for word in self._said],
        }

    def _first(self, balancer: Balancer | None, lead: int, *, may_rest: bool) -> Told | None:
        is_early = self._steps < PLAN_AFTER_STEPS
        survey = self._what_is_known(balancer, lead)
        survey = self._survey = replace(survey, may_rest=may_rest)
        plan = choose(survey, self._allowed())
        usual = predict(survey, survey.everybody, DENSE)
        self._before_s = min([usual.step_s, *(self.averaging.traffic.tried or ())])
        if is_early and (len(plan.ranks) > 1 or usual.step_s < plan.step_s * (1 + EARLY_GAIN)):
            return None
        return self._told(survey, plan, usual)

    def _again(self, balancer: Balancer | None, *, may_rest: bool) -> Told | None:
        """Plan with the speeds of now, and the wire that was found before."""
        if self._survey is None or balancer is None or self.plan is None:
            return None
        self._before_s = median(self._steps_s)
        nodes = tuple(_or_slow(node) for node in balancer.nodes)
        survey = self._survey = replace(
            self._survey, nodes=nodes, may_rest=may_rest, lost=self.lost
        )
        plan = choose(survey, self._allowed())
        now = predict(survey, self.plan.ranks, self.plan.strategy)
        if plan.ranks == now.ranks or now.step_s < plan.step_s * (1 + GAIN_AGAIN):
            plan = now
        return self._told(survey, plan, now)

    def _told(self, survey: Survey, plan: Plan, usual: Plan) -> Told:
        if self.averaging.wire is None:  # on one machine there is nothing to choose
            return Told(plan, ())
        return Told(plan, words_of(survey, plan, usual, offers(survey, plan), self._hosts))

    def _verify(self) -> Told | None:
        """Go back to what was before if that was faster."""
        survey = self._survey
        now_s = median(self._steps_s)
        if survey is None or now_s <= WORSE * self._before_s:
            return None
        usual = predict(survey, survey.everybody, DENSE)
        word = (
            f"{PREFIX}back to dense on all ranks: a step took {now_s * 1e3:.3g} ms, and "
            f"{self._before_s * 1e3:.3g} ms before"
        )
        return Told(replace(usual, time=replace(usual.time, step_s=self._before_s)), (word,))

    def _allowed(self) -> list[Any]:
        return [FP16] if "fp16" in self.averaging.options.allow else []

    def _what_is_known(self, balancer: Balancer | None, lead: int) -> Survey:
        averaging, traffic = self.averaging, self.averaging.traffic
        computed_s = _medians(self._computes_s)
        if balancer is not None:
            nodes = tuple(_or_slow(node) for node in balancer.nodes)
        else:
            nodes = tuple(
                Node(max(share, 1) / max(seconds, 1e-9))
                for share, seconds in zip(self._shares, computed_s, strict=True)
            )
        ready = median(self._ready) / max(computed_s[lead], 1e-9) if self._ready else 1.0
        size = max(1, traffic.sent_bytes)
        job = Job(self.batch, size, min(1.0, ready), size / max(1, traffic.buckets))
        survey = Survey(
            nodes=nodes,
            machines=averaging.machines,
            wire=averaging.wire or Wire((SHARED_BYTES_PER_S,) * len(nodes)),
            job=job,
            wire_s=median(self._waits_s) if self._waits_s else 0.0,
            shares=None if balancer is not None else tuple(map(float, self._shares)),
            lost=self.lost,
        )
        return replace(survey, hidden=self._hidden(survey, max(computed_s)))

    def _hidden(self, survey: Survey, computed_s: float) -> float:
        traffic = self.averaging.traffic
        if self.averaging.overlap is False:
            return 0.0
        if traffic.tried is None or not computed_s:
            return 1.0 if self.averaging.overlap or self._ready else 0.0
        with_s, without_s = traffic.tried
        return hidden_part(survey, without_s, with_s, computed_s)


def _medians(rows: Sequence[tuple[float, ...]]) -> list[float]:
    return [median(column) for column in zip(*rows, strict=True)]


def _or_slow(node: Node | None) -> Node:
    """Return a node of which nothing is known as one that is worth nothing."""
    return node or Node(1e-6)

"""Choose how to average and which machines to use, from what was measured: pure functions.

A plan's step is predicted by the limit model (:mod:`beowulf.limits`), of which the first steps
have shown how near this run comes to it: how long the wire really took, and how much of that
sending during the backward pass hides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median_low
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput
from beowulf.limits.quantities import Wire
from beowulf.limits.step import StepTime, Strategy, exchange_s, step_time, wire_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from beowulf.limits.quantities import Job, Node

DENSE = Strategy("dense")
WEIGHTED = Strategy("weighted", weighted=True)
# Rounding takes about a millisecond per megabyte on an old core; docs/strategies.md.
FP16 = Strategy("fp16", sent_part=0.5)
FP16_S_PER_BYTE = 1e-9
ALONE = Strategy("alone", overlaps=False)  # nothing is exchanged

IN_PARTS_SLOWNESS = 1.1  # what an exchange in parts takes of the limit at least
SHARED_BYTES_PER_S = 1e9  # between ranks of one machine
SAME_WIRE = 1.8  # rates that differ by less may be of one kind of port; the next one has 2.5 times
GAIN_AT_LEAST = 0.05  # less is within the noise, and not worth to leave what works
LEAD_GAIN_AT_LEAST = 0.2  # the first rank does what scripts do on one, so it rests for more only
NAMED_GAIN_AT_LEAST = 0.15  # what changes the result is not worth a word for less
MOST_DILOCO_STEPS = 50  # between two exchanges, by default


@dataclass(frozen=True)
class Survey:
    """What the first steps have shown of a run.

    Args:
        nodes: How fast each rank computes.
        machines: Which machine each rank is on: ranks of one machine have the same number.
        wire: What each rank's link carries; ranks of one machine have the same link.
        job: The batch, the gradients, the buckets, and when the first of these is ready.
        wire_s: How long exchanging all gradients takes among all ranks, without overlap.
        hidden: The part that overlap hides of what it could hide by the limit model; 0
            where gradients travel after the backward pass.
        shares: What each rank gets of a batch, if the script has said so.
        may_rest: Whether ranks may be left out.
        lost: Ranks that there are no more.
    """

    nodes: tuple[Node, ...]
    machines: tuple[int, ...]
    wire: Wire
    job: Job
    wire_s: float
    hidden: float = 0.0
    shares: tuple[float, ...] | None = None
    may_rest: bool = True
    lost: tuple[int, ...] = ()

    @property
    def everybody(self) -> tuple[int, ...]:
        """The ranks that there are."""
        return tuple(rank for rank in range(len(self.nodes)) if rank not in self.lost)

    @property
    def slowness(self) -> float:
        """How many times as long as the limit model says the exchange took."""
        limit_s = exchange_s(wire_of(self.wire, self.everybody), self.job, DENSE)
        return self.wire_s / limit_s if limit_s and self.wire_s else 1.0


@dataclass(frozen=True)
class Plan:
    """Which ranks train, how they average, and what a step is expected to take."""

    ranks: tuple[int, ...]
    strategy: Strategy
    time: StepTime

    @property
    def step_s(self) -> float:
        """How long a step is expected to take, in seconds."""
        return self.time.step_s


def predict(survey: Survey, ranks: Sequence[int], strategy: Strategy) -> Plan:
    """Return the plan of these ranks and this strategy, with the best shares."""
    nodes = [survey.nodes[rank] for rank in ranks]
    wire = _wire_among(survey, ranks, strategy)
    shares = None if survey.shares is None else [survey.shares[rank] for rank in ranks]
    strategy = replace(strategy, overlaps=False)
    plain = step_time(nodes, wire, survey.job, strategy, shares)
    if not survey.hidden or len(ranks) == 1:
        return Plan(tuple(ranks), strategy, plain)
    strategy = replace(strategy, overlaps=True)
    ideal = step_time(nodes, wire, survey.job, strategy, shares)
    step_s = plain.step_s - survey.hidden * max(0.0, plain.step_s - ideal.step_s)
    return Plan(tuple(ranks), strategy, replace(plain, step_s=step_s))


def hidden_part(survey: Survey, without_s: float, with_s: float, computed_s: float) -> float:
    """Return what part of the time that overlap could hide it did hide, 0 to 1.

    The steps with and without overlap are those of a trial, in which ranks computed for
    ``computed_s``.
    """
    everybody = survey.everybody
    node = replace(
        survey.nodes[everybody[0]], samples_per_s=survey.job.batch / computed_s, overhead_s=0.0
    )
    wire = _wire_among(survey, everybody, DENSE)
    shares = [float(survey.job.batch), *(0.0 for _ in everybody[1:])]
    nodes = [node] * len(everybody)
    ideal = step_time(nodes, wire, survey.job, DENSE, shares)
    hideable_s = ideal.compute_s + ideal.wire_s - ideal.step_s
    return min(1.0, max(0.0, (without_s - with_s) / hideable_s)) if hideable_s > 0 else 0.0


def choose(survey: Survey, allowed: Iterable[Strategy] = ()) -> Plan:
    """Return the best plan among the exact ones and those of ``allowed`` strategies.

    All ranks with ``dense`` unless something else is certain to be faster; of plans that are about
    as fast, the one with more ranks. The first rank rests only if that makes steps much shorter.
    """
    lead = survey.everybody[0]
    usual = predict(survey, survey.everybody, DENSE)
    plans = [
        predict(survey, ranks, strategy)
        for ranks in _choices(survey)
        for strategy in _strategies(survey, ranks, allowed)
    ]
    with_lead = _best(usual, (plan for plan in plans if lead in plan.ranks), GAIN_AT_LEAST)
    return _best(with_lead, (plan for plan in plans if lead not in plan.ranks), LEAD_GAIN_AT_LEAST)


def offers(survey: Survey, plan: Plan) -> list[tuple[str, float]]:
    """Return what is faster but changes the result: names, and how many times as fast at most."""
    everybody = survey.everybody
    if len(everybody) == 1:
        return []
    found = []
    if plan.strategy.name != "fp16":
        found.append(("fp16", predict(survey, everybody, _fp16(survey)).step_s))
    seldom = replace(DENSE, name="diloco", every_steps=MOST_DILOCO_STEPS)
    rarely_s = predict(survey, everybody, seldom).step_s
    found.append(("diloco", rarely_s))
    named = [(name, plan.step_s / step_s) for name, step_s in found]
    return [(name, gain) for name, gain in named if gain >= 1 + NAMED_GAIN_AT_LEAST]


def bucket_bytes_for(wire: Wire, usual: int) -> int:
    """Return in how large pieces gradients had best travel, before any of them has travelled.

    Small pieces leave early and come in early, but each costs 2 (n-1) messages: so the
    smallest, by powers of two, of which that is a thirtieth; no less than a quarter of
    ``usual``, below which other costs count, and at most four times as much. A link in the middle
    counts: what is slower than most either rests or has a part of its own to add up.
    """
    n = wire.nodes
    enough = 30 * n * wire.latency_s * median_low(wire.bytes_per_s)
    sizes = [usual // 4, usual // 2, usual, 2 * usual, 4 * usual]
    return next((size for size in sizes if size >= enough), sizes[-1])


def _best(standing: Plan, others: Iterable[Plan], gain: float) -> Plan:
    """Return the fastest of ``others`` if it is clearly faster than the one that stands."""
    fast = sorted(others, key=lambda plan: plan.step_s)
    if not fast or standing.step_s <= fast[0].step_s * (1 + gain):
        return standing
    enough = [plan for plan in fast if plan.step_s <= fast[0].step_s * (1 + GAIN_AT_LEAST / 2)]
    return max(enough, key=lambda plan: (len(plan.ranks), -plan.step_s))


def _strategies(
    survey: Survey, ranks: Sequence[int], allowed: Iterable[Strategy]
) -> Iterator[Strategy]:
    if len(ranks) == 1:
        yield ALONE
        return
    yield DENSE
    machines = {survey.machines[rank] for rank in ranks}
    differ = max(link_kinds([survey.wire.bytes_per_s[rank] for rank in ranks])) > 0
    if differ and 2 < len(machines) == len(ranks):  # of ranks that share a link, each has less
        yield WEIGHTED
    for strategy in allowed:
        yield _fp16(survey) if strategy.name == "fp16" else strategy


def _fp16(survey: Survey) -> Strategy:
    return replace(FP16, coding_s=survey.job.gradient_bytes * FP16_S_PER_BYTE)


def _choices(survey: Survey) -> Iterator[tuple[int, ...]]:
    """Yield the sets of ranks worth trying: whole machines, by the kind of their links.

    For every kind of link, the machines with such a one or a better one, from the fastest
    machine on, as in :func:`beowulf.limits.step.best_nodes`; and each machine by itself, whose
    ranks need no wire.
    """
    everybody = survey.everybody
    yield everybody
    if not survey.may_rest or survey.shares is not None:
        return
    ranks_of: dict[int, list[int]] = {}
    for rank in everybody:
        ranks_of.setdefault(survey.machines[rank], []).append(rank)
    if len(ranks_of) == 1:
        return
    speed = {
        machine: sum(survey.nodes[rank].samples_per_s for rank in ranks)
        for machine, ranks in ranks_of.items()
    }
    kinds = link_kinds([survey.wire.bytes_per_s[ranks[0]] for ranks in ranks_of.values()])
    kind_of = dict(zip(ranks_of, kinds, strict=True))
    for kind in sorted(set(kinds)):
        fit = [machine for machine in ranks_of if kind_of[machine] <= kind]
        fit.sort(key=lambda machine: (-speed[machine], ranks_of[machine]))
        for count in range(1, len(fit) + 1):
            yield tuple(sorted(rank for machine in fit[:count] for rank in ranks_of[machine]))
    yield from (tuple(ranks) for ranks in ranks_of.values())


def link_kinds(rates: Sequence[float]) -> list[int]:
    """Return each link's kind: 0 for the fastest ones, 1 for those that are clearly slower, ..."""
    kinds = [0] * len(rates)
    kind, fastest = 0, max(rates, default=0.0)
    for index in sorted(range(len(rates)), key=lambda index: -rates[index]):
        if rates[index] * SAME_WIRE < fastest:
            kind, fastest = kind + 1, rates[index]
        kinds[index] = kind
    return kinds


def _wire_among(survey: Survey, ranks: Sequence[int], strategy: Strategy) -> Wire:
    """Return the wire as this run gets it, between these ranks alone."""
    if len(ranks) > 1 and len({survey.machines[rank] for rank in ranks}) == 1:
        if len(ranks) == len(survey.everybody):
            return _slowed(wire_of(survey.wire, ranks), survey.slowness)
        return Wire((SHARED_BYTES_PER_S,) * len(ranks))
    slowness = survey.slowness
    if strategy.weighted or strategy.sent_part < 1:  # another program than MPI's all-reduce
        slowness = max(slowness, IN_PARTS_SLOWNESS)
    return _slowed(wire_of(survey.wire, ranks), slowness)


def _slowed(wire: Wire, slowness: float) -> Wire:
    try:
        rates = tuple(rate / slowness for rate in wire.bytes_per_s)
        return Wire(rates, wire.latency_s * slowness)
    except InvalidInput:  # a clock that was set, or a wire that nothing passes in no time
        return wire

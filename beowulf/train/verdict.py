"""Say in words what was planned and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.train.plan import Plan, Survey

PREFIX = "beowulf: "
WHAT_IT_CHANGES = {
    "fp16": "rounds gradients to 11 bits",
    "diloco": "lets ranks train apart for some steps",
}


def words_of(
    survey: Survey,
    plan: Plan,
    usual: Plan,
    offers: Sequence[tuple[str, float]],
    hosts: Sequence[str],
) -> tuple[str, ...]:
    """Return lines about a plan; ``usual`` is what all ranks would do with ``dense``."""
    ranks = survey.everybody
    machines = {survey.machines[rank] for rank in ranks}
    resting = [rank for rank in ranks if rank not in plan.ranks]
    lines = [f"{PREFIX}{_how(plan, hosts, len(machines))}: {_step(plan)}"]
    if resting:
        names = _names(resting, hosts)
        rest = "rests" if len(names) == 1 else "rest"
        lines.append(
            f"{PREFIX}{_listed(names)} {rest}: a step takes {ms(plan.step_s)} without, "
            f"{ms(usual.step_s)} with {'it' if len(names) == 1 else 'them'}"
        )
    for name, gain in offers:
        lines.append(
            f"{PREFIX}averaging={name!r} would make a step about {gain:.1f} times as fast, but "
            f"{WHAT_IT_CHANGES[name]}; see docs/strategies.md"
        )
    return tuple(lines)


def ms(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _how(plan: Plan, hosts: Sequence[str], machines: int) -> str:
    names = _names(plan.ranks, hosts)
    if len(plan.ranks) == 1 and machines > 1:
        return f"{names[0]} trains alone"
    who = _listed(names) if machines > 1 else f"{len(plan.ranks)} ranks"
    overlap = " with overlap" if plan.strategy.overlaps else ""
    return f"{who} by {plan.strategy.name}{overlap}"


def _step(plan: Plan) -> str:
    limit = f"; {plan.time.limited_by} limits it" if len(plan.ranks) > 1 else ""
    return f"a step should take {ms(plan.step_s)}{limit}"


def _names(ranks: Sequence[int], hosts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(hosts[rank] for rank in ranks))


def _listed(names: Sequence[str]) -> str:
    if len(names) > 4:
        return f"{len(names)} nodes"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

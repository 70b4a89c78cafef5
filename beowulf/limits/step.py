"""How long a whole training step takes at best: compute, wire, and what of them overlaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput
from beowulf.limits.compute import best_shares, compute_s, has_memory
from beowulf.limits.quantities import Wire
from beowulf.limits.wire import buckets_of, ring_s, weighted_exchange_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from beowulf.limits.quantities import Job, Node


@dataclass(frozen=True)
class Strategy:
    """What a way of averaging sends, and when.

    Args:
        name: As users write it.
        sent_part: What travels, as a part of the gradients' bytes: 0.5 for 16-bit ones.
        every_steps: Steps between two exchanges; more than 1 for local steps.
        overlaps: Whether buckets travel while the backward pass still runs.
        weighted: Whether links carry what each of them can, rather than all the same.
        coding_s: Time to compress and to restore, per step, on the slowest node.
    """

    name: str
    sent_part: float = 1.0
    every_steps: int = 1
    overlaps: bool = True
    weighted: bool = False
    coding_s: float = 0.0


NAIVE = Strategy("naive", overlaps=False)
DENSE = Strategy("dense")
FP16 = Strategy("fp16", sent_part=0.5)


@dataclass(frozen=True)
class StepTime:
    """A step's time and its parts, in seconds. What overlaps makes the sum more than the step."""

    step_s: float
    compute_s: float
    wire_s: float

    @property
    def limited_by(self) -> str:
        """Say which part takes longer: ``"compute"`` or ``"wire"``."""
        return "compute" if self.compute_s >= self.wire_s else "wire"


def exchange_s(wire: Wire, job: Job, strategy: Strategy) -> float:
    """Return how long the wire is busy with one exchange, in seconds."""
    exchange = weighted_exchange_s if strategy.weighted else ring_s
    return exchange(wire, job.gradient_bytes * strategy.sent_part, job.bucket_bytes)


def step_time(
    nodes: Sequence[Node],
    wire: Wire,
    job: Job,
    strategy: Strategy,
    shares: Sequence[float] | None = None,
) -> StepTime:
    """Return the least time of a step, with the best whole shares if none are given.

    Without overlap, the wire waits for compute. With overlap, forward pass, then backward
    pass and wire at the same time, bucket by bucket, each bucket once it is ready. With
    local steps, the time of an exchange is spread over them.

    Raises:
        InvalidInput: Nodes, links and shares differ in number, or memory is too small.
    """
    if len(nodes) != wire.nodes:
        raise InvalidInput(
            "bytes_per_s", f"{wire.nodes} links for {len(nodes)} nodes", "give one per node"
        )
    chosen = best_shares(nodes, job.batch) if shares is None else shares
    if len(chosen) != len(nodes):
        raise InvalidInput("shares", f"{len(chosen)} for {len(nodes)} nodes", "give one per node")
    computing_s = compute_s(nodes, chosen)
    carrying_s = exchange_s(wire, job, strategy)
    if strategy.overlaps and strategy.every_steps == 1:
        step_s = _overlapped_s(computing_s, carrying_s, job, strategy)
    else:
        step_s = computing_s + carrying_s / strategy.every_steps
    return StepTime(step_s + strategy.coding_s, computing_s, carrying_s / strategy.every_steps)


def _overlapped_s(computing_s: float, carrying_s: float, job: Job, strategy: Strategy) -> float:
    """Return the end of two stages, one after the other for each of equal buckets."""
    buckets = buckets_of(job.gradient_bytes * strategy.sent_part, job.bucket_bytes)
    backward_s = computing_s * (1 - job.forward_share)
    to_the_wire_s, on_the_wire_s = backward_s / buckets, carrying_s / buckets
    slower_s = max(to_the_wire_s, on_the_wire_s)
    pipeline_s = to_the_wire_s + (buckets - 1) * slower_s + on_the_wire_s
    return computing_s * job.forward_share + pipeline_s


def best_nodes(
    nodes: Sequence[Node], wire: Wire, job: Job, strategy: Strategy
) -> tuple[tuple[int, ...], StepTime]:
    """Return which nodes to use, by their places, and the step's time with them.

    Raises:
        InvalidInput: Nodes and links differ in number, or no choice has the memory.
    """
    if len(nodes) != wire.nodes:
        raise InvalidInput(
            "bytes_per_s", f"{wire.nodes} links for {len(nodes)} nodes", "give one per node"
        )
    found: tuple[tuple[int, ...], StepTime] | None = None
    for chosen in _choices(nodes, wire):
        chosen_nodes = [nodes[index] for index in chosen]
        if has_memory(chosen_nodes, job.batch):
            time = step_time(chosen_nodes, wire_of(wire, chosen), job, strategy)
            if found is None or time.step_s < found[1].step_s:
                found = chosen, time
    if found is None:
        raise InvalidInput(
            "batch", f"{job.batch} samples are more than the nodes' memory takes", "use more nodes"
        )
    return found


def _choices(nodes: Sequence[Node], wire: Wire) -> Iterator[tuple[int, ...]]:
    """Yield the choices of nodes worth trying, by their places: at most n(n+1) of 2^n.

    For every link's rate, the nodes whose links are as fast or faster, from the fastest
    node on; with equal overheads and memory to spare, no other is faster on a ring. And
    each node alone, for memory's sake.
    """
    yield from ((index,) for index in range(len(nodes)))
    for slowest in sorted(set(wire.bytes_per_s), reverse=True):
        fit = [index for index, rate in enumerate(wire.bytes_per_s) if rate >= slowest]
        fit.sort(key=lambda index: (-nodes[index].samples_per_s, nodes[index].overhead_s, index))
        yield from (tuple(sorted(fit[:count])) for count in range(1, len(fit) + 1))


def wire_of(wire: Wire, chosen: Sequence[int]) -> Wire:
    """Return what is left of a wire with the chosen nodes alone on it."""
    return Wire(tuple(wire.bytes_per_s[index] for index in chosen), wire.latency_s)

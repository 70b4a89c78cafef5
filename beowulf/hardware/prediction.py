"""How long a job's steps would take on other numbers of nodes, from what was measured.

The formulas are those of :mod:`beowulf.limits`; here the measurements become their quantities.
A prediction uses the measured nodes, the fastest first and those with a slow wire last, and
then the same ones again. The wire is what the measured sums showed of it, not what it could.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median, median_high
from typing import TYPE_CHECKING, Any

from beowulf.errors import InvalidInput
from beowulf.hardware.speeds import SLOW, node_wires, ring_limit_s
from beowulf.limits.quantities import Job, Node, Wire
from beowulf.limits.step import DENSE, FP16, NAIVE, Strategy, exchange_s, step_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from beowulf.job.measured import Measured

WEIGHTED = Strategy("weighted", weighted=True)
# What powersgd sends depends on the shapes of a job's matrices, and diloco's steps are others.
STRATEGIES = {strategy.name: strategy for strategy in (DENSE, FP16, WEIGHTED, NAIVE)}
BUCKET_BYTES = 1e6  # as the limits' job has it; sums of about this size tell what a wire does
USUAL_LATENCY_S = 1e-4  # between two computers on one switch
WORTH_A_WORD = 1.05
GAIN = 1.01  # less than a hundredth faster is not faster


@dataclass(frozen=True)
class NodeFigures:
    """A node as a prediction takes it: the job's samples per second there, and its wire."""

    name: str
    samples_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Prediction:
    """A step on some nodes with one strategy. ``measured`` of the nodes are real ones."""

    nodes: int
    strategy: str
    measured: int
    step_s: float
    compute_s: float
    wire_s: float
    samples_per_s: float
    efficiency: float
    """Samples per second, as a part of what all nodes do that wait for nobody."""
    limited_by: str
    """``compute``, ``wire`` or ``latency``."""

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the JSON document."""
        return asdict(self)


@dataclass(frozen=True)
class Cluster:
    """The nodes to predict with, in the order in which they are used, and their wire's latency."""

    nodes: tuple[NodeFigures, ...]
    latency_s: float

    def taken(self, count: int) -> list[NodeFigures]:
        """Return the first ``count`` nodes; beyond those that there are, the same ones again."""
        return [self.nodes[place % len(self.nodes)] for place in range(count)]


def cluster_of(
    measured: Measured, speeds: dict[str, float], wire_bytes_per_s: float | None = None
) -> Cluster:
    """Return the measured nodes, given the job's samples per second on some of them.

    The others are presumed as much slower or faster as their matrix product. With
    ``wire_bytes_per_s`` every wire is presumed to carry that, whatever was measured.

    Raises:
        InvalidInput: None of the speeds is of a measured node.
    """
    per_flop = [speeds[node.name] / node.flops for node in measured.nodes if node.name in speeds]
    if not per_flop:
        raise InvalidInput(
            "--samples-per-s",
            "the earlier job ran on none of the measured nodes",
            "measure again with: beowulf bench; or give how fast the fastest node is alone",
        )
    usual = median(per_flop)
    rates, latency_s = _wires(measured, wire_bytes_per_s)
    nodes = [
        NodeFigures(
            node.name, speeds.get(node.name, usual * node.flops), rates.get(node.name, float("inf"))
        )
        for node in measured.nodes
    ]
    enough = SLOW * median_high(node.bytes_per_s for node in nodes)
    nodes.sort(key=lambda node: (node.bytes_per_s < enough, -node.samples_per_s, node.name))
    return Cluster(tuple(nodes), latency_s)


def speeds_from_fastest(measured: Measured, samples_per_s: float) -> dict[str, float]:
    """Return the speed of the fastest node under its name; the others follow from it."""
    return {max(measured.nodes, key=lambda node: node.flops).name: samples_per_s}


def _wires(measured: Measured, presumed: float | None) -> tuple[dict[str, float], float]:
    """Return each node's bytes per second as a sum over all nodes gets them, and the latency."""
    if presumed is not None:
        return {node.name: presumed for node in measured.nodes}, USUAL_LATENCY_S
    wires = node_wires(measured)
    if not wires:
        return {}, USUAL_LATENCY_S
    latency_s = median(wire.latency_s for wire in measured.wires)
    part = _part_that_sums_get(measured, latency_s)
    rates = {name: part * min(wire.carries, wire.both) for name, wire in wires.items()}
    return rates, latency_s


def _part_that_sums_get(measured: Measured, latency_s: float) -> float:
    """Return which part of the wires' rate the measured sum nearest to a bucket reached.

    A ring takes 2 (n-1) rounds; what is left of the time after them is the wire's. Smaller
    sums say less: MPI does them in other ways.
    """
    if not measured.allreduce:
        return 1.0
    bucket = min(measured.allreduce, key=lambda each: abs(each.size_bytes - BUCKET_BYTES))
    limit_s = ring_limit_s(measured, bucket.size_bytes)
    carrying_s = bucket.seconds - 2 * (len(measured.nodes) - 1) * latency_s
    return min(1.0, limit_s / carrying_s) if limit_s and carrying_s > 0 else 1.0


def predict(
    cluster: Cluster, job: Job, counts: Iterable[int], strategies: Sequence[Strategy]
) -> list[Prediction]:
    """Return a prediction for each number of nodes and each strategy."""
    return [_predict(cluster, job, count, strategy) for count in counts for strategy in strategies]


def _predict(cluster: Cluster, job: Job, count: int, strategy: Strategy) -> Prediction:
    taken = cluster.taken(count)
    nodes = [Node(node.samples_per_s) for node in taken]
    wire = Wire(tuple(min(node.bytes_per_s, 1e15) for node in taken), cluster.latency_s)
    time = step_time(nodes, wire, job, strategy)
    speed = job.batch / time.step_s
    return Prediction(
        nodes=count,
        strategy=strategy.name,
        measured=min(count, len(cluster.nodes)),
        step_s=time.step_s,
        compute_s=time.compute_s,
        wire_s=time.wire_s,
        samples_per_s=speed,
        efficiency=speed / sum(node.samples_per_s for node in taken),
        limited_by=_limit(time.limited_by, wire, job, strategy),
    )


def _limit(limited_by: str, wire: Wire, job: Job, strategy: Strategy) -> str:
    """Say of a wire whether it is its rate or its latency that takes the time."""
    if limited_by == "compute":
        return limited_by
    whole_s = exchange_s(wire, job, strategy)
    without_s = exchange_s(Wire(wire.bytes_per_s), job, strategy)
    return "latency" if without_s < whole_s / 2 else "wire"


def advice(cluster: Cluster, predictions: Sequence[Prediction]) -> list[str]:
    """Say in sentences how many nodes are best, and which are worse than one alone.

    ``predictions`` are those of one strategy.
    """
    alone = max(node.samples_per_s for node in cluster.nodes)
    fastest = max(cluster.nodes, key=lambda node: node.samples_per_s).name
    best = max(predictions, key=lambda each: each.samples_per_s)
    said = []
    if best.samples_per_s < alone * GAIN:
        said.append(f"{fastest} alone is faster than any number of nodes here")
    else:
        enough = min(
            (each for each in predictions if each.samples_per_s * GAIN >= best.samples_per_s),
            key=lambda each: each.nodes,
        )
        said.append(
            f"fastest: {count_of_nodes(enough.nodes)} with {enough.strategy}, "
            f"{enough.samples_per_s / alone:.3g} times as fast as {fastest} alone"
        )
        slower = sorted(
            {each.nodes for each in predictions if each.nodes > 1}
            - {each.nodes for each in predictions if each.samples_per_s >= alone * GAIN}
        )
        if slower:
            numbers = ", ".join(map(str, slower[:8])) + (", ..." if len(slower) > 8 else "")
            said.append(f"{fastest} alone is faster than these numbers of nodes: {numbers}")
    said += _left_out(cluster, predictions)
    repeated = max(each.nodes for each in predictions)
    if repeated > len(cluster.nodes):
        said.append(
            f"{count_of_nodes(len(cluster.nodes))} measured; "
            "beyond that, the same ones again are presumed"
        )
    return said


def _left_out(cluster: Cluster, predictions: Sequence[Prediction]) -> list[str]:
    """Say which measured nodes a step is faster without, if it is by enough to be worth it."""
    real = {each.nodes: each for each in predictions if each.nodes <= len(cluster.nodes)}
    if len(cluster.nodes) not in real:
        return []
    best, whole = max(real.values(), key=lambda each: each.samples_per_s), real[len(cluster.nodes)]
    if best.samples_per_s < whole.samples_per_s * WORTH_A_WORD:
        return []
    names = ", ".join(node.name for node in cluster.nodes[best.nodes :][:8])
    percent = 100 * (best.samples_per_s / whole.samples_per_s - 1)
    measured = count_of_nodes(len(cluster.nodes))
    return [f"of the {measured} that were measured, leaving out {names} is {percent:.0f} % faster"]


def count_of_nodes(count: int) -> str:
    """Return a number of nodes in words."""
    return f"{count} node{'s' * (count != 1)}"

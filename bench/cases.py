"""The cases of the training benchmark: nodes, wires, a model, and the ways to train it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.ranks.shapes import MODELS, bytes_of
from beowulf.limits.compute import best_compute_s
from beowulf.limits.quantities import Job, Node, Wire
from beowulf.limits.step import DENSE, StepTime, Strategy, step_time
from beowulf.limits.wire import MOST_BYTES, early_bucket_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BATCH = 84  # 48 : 24 : 12 for nodes of 4 : 2 : 1, 28 each, 21 each of four: all whole
FORWARD_SHARE = 1 / 3  # as bench.ranks.virtual sleeps

DDP = ("DDP equal", "DDP balanced", "DDP balanced, 1 MB buckets")
COMPRESSED_DDP = ("DDP balanced, fp16", "DDP balanced, PowerSGD")
EQUAL_DENSE = "dense equal"
COMPRESSED = ("fp16", "powersgd")
ALL = ("alone", *DDP, *COMPRESSED_DDP, EQUAL_DENSE, "dense", *COMPRESSED, "auto")
UNTUNED = "naive"
AUTO = "auto"
# What the limit model says of each way; what is not here is told no time in advance.
STRATEGIES: Mapping[str, Strategy] = {
    EQUAL_DENSE: DENSE,
    "dense": DENSE,
    "fp16": Strategy("fp16", sent_part=0.5),
    "weighted": Strategy("weighted", weighted=True),
}


@dataclass(frozen=True)
class Case:
    """One world of nodes, and what is compared on it.

    ``rates`` are the cables', ``speeds`` the nodes' in proportion; together the nodes take
    ``compute_s`` for a batch that is split as their speeds are. Each of ``rounds`` rounds times
    ``steps`` steps of every way, after ``warm_up`` steps that don't count, or ``settle`` of ours.
    What is ``untuned`` has naive mpi4py beside it; ``is_quick`` is measured in a hurry too. With
    ``cores``, nodes compute in earnest, on as many cores together, by quotas.
    """

    name: str
    model: str
    rates: tuple[str, ...]
    speeds: tuple[float, ...]
    compute_s: float
    ways: tuple[str, ...]
    rounds: int = 5
    steps: int = 3
    warm_up: int = 4
    settle: int = 16
    is_quick: bool = False
    timeout_s: float = 420
    untuned: bool = False
    halves: bool = False
    cores: float = 0.0

    @property
    def samples_per_s(self) -> tuple[float, ...]:
        """Each node's speed."""
        unit = BATCH / self.compute_s / sum(self.speeds)
        return tuple(unit * speed for speed in self.speeds)

    @property
    def cores_per_node(self) -> tuple[float, ...]:
        """Which part of a core each node may use; none where computing is slept."""
        return tuple(self.cores * speed / sum(self.speeds) for speed in self.speeds if self.cores)

    def quick(self) -> Case:
        """Return the same with fewer steps: enough to see that it works."""
        steps = self.steps // 2 if self.halves else 1
        return replace(self, rounds=2, steps=steps, warm_up=2)

    def words(self, ways: Sequence[str]) -> list[object]:
        """Return what ``bench.ranks.training`` needs to know."""
        return [
            "--model", self.model, "--batch", BATCH, "--speeds", *self.samples_per_s,
            "--rounds", self.rounds, "--steps", self.steps, "--warm-up", self.warm_up,
            "--settle", self.settle, "--ways", *ways, *(["--halve"] if self.halves else []),
        ]  # fmt: skip


FAST, SLOW = "1gbit", "100mbit"
UNEQUAL = (4.0, 2.0, 1.0)


def _unequal(model: str, rate: str, compute_s: float, **more: object) -> Case:
    return Case(
        **{  # type: ignore[arg-type]  # given by name, checked by those who write the cases below
            "name": f"4 : 2 : 1, {model}, {rate}", "model": model, "rates": (rate,) * 3,
            "speeds": UNEQUAL, "compute_s": compute_s, "ways": ALL, "untuned": True, **more,
        }
    )  # fmt: skip


def _equal(model: str, rate: str, compute_s: float, **more: int) -> Case:
    return Case(
        name=f"equal, {model}, {rate}",
        model=model,
        rates=(rate,) * 3,
        speeds=(1.0,) * 3,
        compute_s=compute_s,
        ways=("DDP equal", EQUAL_DENSE),
        **more,  # type: ignore[arg-type]  # rounds, steps and the like: numbers
    )


BIG_WAYS = ("alone", "DDP equal", "DDP balanced", "DDP balanced, fp16", "dense", "fp16", "auto")
LONG_WAYS = tuple(way for way in ALL if way not in ("DDP balanced, 1 MB buckets", EQUAL_DENSE))
CASES = (
    _unequal("2.6 MB", SLOW, 0.5, is_quick=True),
    _unequal("2.6 MB", FAST, 0.2, is_quick=True),
    _unequal("25 MB", SLOW, 0.6, ways=LONG_WAYS, steps=1, warm_up=2, timeout_s=600),
    _unequal("25 MB", FAST, 0.5, steps=2, is_quick=True),
    _unequal("ResNet-18", FAST, 0.9, ways=BIG_WAYS, untuned=False, steps=1, warm_up=3),
    _unequal("transformer", FAST, 0.9, ways=BIG_WAYS, untuned=False, steps=1, warm_up=3),
    _equal("0.1 MB", SLOW, 0.03, steps=20),
    _equal("1 MB", SLOW, 0.15, steps=5, is_quick=True),
    _equal("5 MB", SLOW, 0.5, steps=2),
    _equal("0.1 MB", FAST, 0.03, steps=20),
    _equal("1 MB", FAST, 0.1, steps=5),
    _equal("25 MB", FAST, 0.4),
    _unequal(
        "25 MB",
        SLOW,
        0.6,
        name="local steps, 25 MB, 100mbit",
        ways=("DDP balanced, fp16", "powersgd", "diloco, 10 steps"),
        rounds=3,
        steps=10,
        settle=60,
        untuned=False,
    ),
    Case(
        name="one of four on 100mbit, 25 MB",
        model="25 MB",
        rates=(SLOW, FAST, FAST, FAST),
        speeds=(1.0,) * 4,
        compute_s=0.3,
        ways=("DDP equal", EQUAL_DENSE, "weighted", "auto"),
        steps=1,
        warm_up=3,
        is_quick=True,
    ),
    _unequal(
        "2.6 MB",
        SLOW,
        0.5,
        name="4 : 2 : 1 by CPU quotas, 2.6 MB, 100mbit",
        ways=("alone", "DDP equal", "DDP balanced", "dense"),
        timeout_s=600,
        steps=8,  # others' turns count as computing in the first of them, and mislead if not rare
        untuned=False,
        cores=1.6,
    ),
    Case(
        name="the fastest node's speed halves",
        model="2.6 MB",
        rates=(FAST,) * 3,
        speeds=UNEQUAL,
        compute_s=0.2,
        ways=("dense",),
        steps=40,
        halves=True,
        is_quick=True,
    ),
)


def wire_of(case: Case, tcp_bytes_per_s: float) -> Wire:
    """Return a case's wire from raw TCP's speed between its first two nodes."""
    slowest = min(_mbit(rate) for rate in case.rates[:2])
    return Wire(tuple(tcp_bytes_per_s * _mbit(rate) / slowest for rate in case.rates))


def _mbit(rate: str) -> int:
    return int(rate.removesuffix("mbit")) if rate.endswith("mbit") else 1000


def nodes_of(case: Case) -> list[Node]:
    """Return a case's nodes as the limit model wants them."""
    return [Node(speed) for speed in case.samples_per_s]


def job_of(gradient_bytes: float, bucket_bytes: float) -> Job:
    """Return the training as the limit model wants it."""
    return Job(BATCH, gradient_bytes, forward_share=FORWARD_SHARE, bucket_bytes=bucket_bytes)


def limit_s(case: Case, tcp_bytes_per_s: float) -> float:
    """Return the least time of a step in which all gradients travel whole.

    A layer's gradients can be sent once they are there: a bucket is a layer, or 1 MB of it.
    """
    shapes = MODELS[case.model]
    layers = sum(len(shape) > 1 for shape in shapes)
    size = bytes_of(shapes)
    job = job_of(size, min(MOST_BYTES, size / layers))
    return step_time(nodes_of(case), wire_of(case, tcp_bytes_per_s), job, DENSE).step_s


def predicted(case: Case, way: str, tcp_bytes_per_s: float) -> StepTime | None:
    """Return what the limit model says of a way, or None where it says nothing."""
    nodes = nodes_of(case)
    if way == "alone":
        alone_s = best_compute_s([max(nodes, key=lambda node: node.samples_per_s)], BATCH)
        return StepTime(alone_s, alone_s, 0.0)
    if way not in STRATEGIES:
        return None
    shares = [BATCH / len(nodes)] * len(nodes) if way == EQUAL_DENSE else None
    wire = wire_of(case, tcp_bytes_per_s)
    size = bytes_of(MODELS[case.model])
    job = job_of(size, early_bucket_bytes(size))
    return step_time(nodes, wire, job, STRATEGIES[way], shares)

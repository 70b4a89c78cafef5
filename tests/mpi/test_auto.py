"""Whatever is chosen in the course of a run, its losses and its end are those of one process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from mpi4py import MPI

from beowulf import train
from beowulf.durable import read_json_lines
from beowulf.errors import TrainingError
from beowulf.limits.quantities import Wire
from beowulf.train.auto import Automatic
from beowulf.train.balance import Balancer
from beowulf.train.batches import Schedule
from beowulf.train.exchange import Plain
from beowulf.train.planner import Planner
from beowulf.train.shares import split
from tests.mpi.launch import on_ranks

SAMPLES, BATCH, STEPS = 480, 24, 60
X = np.linspace(-1, 1, SAMPLES)
Y = 3 * X + 1
FAST, SLOW = 0.0005, 0.004  # seconds per sample
NO_WIRE_S, SLOW_WIRE_S = 0.0, 0.3


class Network:
    """Ranks that believe to be on machines of their own, and sums that take their time."""

    def __init__(self, wire_s: float, rates: tuple[float, ...]) -> None:
        self.wire_s = wire_s
        self.rates = rates
        self._sum = Plain.__call__
        self._patches: list[Any] = [
            mock.patch("beowulf.train.auto.machines_of", lambda comm: tuple(range(comm.size))),
            mock.patch("beowulf.train.auto.measured_wire", self._wire),
            mock.patch.object(Plain, "__call__", self._slow_sum),
        ]

    def _wire(self, comm: MPI.Intracomm, _machines: object) -> Wire:
        return Wire(self.rates[: comm.size], 1e-5)

    def _slow_sum(self, comm: MPI.Intracomm, bucket: Any) -> None:
        self._sum(Plain(), comm, bucket)
        time.sleep(self.wire_s * (comm.size - 1) / comm.size)

    def __enter__(self) -> None:
        for patch in self._patches:
            patch.start()

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()


def sums(weights: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the sums over some points of a line's gradient and loss."""
    error = weights[0] * X[part] + weights[1] - Y[part]
    return np.array([2 * (error * X[part]).sum(), 2 * error.sum()]), float((error**2).sum())


def losses_of_one_process(steps: int) -> tuple[np.ndarray, list[float]]:
    weights, losses = np.zeros(2), []
    for _, _, batch in Schedule(SAMPLES, BATCH, 0).global_batches(0, steps):
        gradient, loss = sums(weights, batch)
        losses.append(loss / len(batch))
        weights -= 0.1 * gradient / len(batch)
    return weights, losses


def run_steps(
    run: train.Run,
    weights: np.ndarray,
    pace: list[float],
    steps: int = STEPS,
    *,
    leave: int = 0,
    surprise_s: float = 0.0,
) -> list[float]:
    """Train, on a rank that takes ``pace`` seconds per sample; return the losses it saw.

    The loop is left after the step ``leave``. A whole batch takes ``surprise_s`` more.
    """
    losses = []
    for batch in run.batches(SAMPLES, steps=steps):
        gradient, loss = np.zeros(2), 0.0
        for part in batch:
            time.sleep(pace[run.rank] * len(part) + surprise_s * (len(part) == BATCH))
            gradient, loss = sums(weights, part)
        losses.append(run.average(gradient, loss))
        weights -= 0.1 * gradient
        if batch.step == leave:
            break
    return losses


def events_of(directory: Path) -> list[dict[str, Any]]:
    """Return the plans that the story of a run tells of."""
    lines = read_json_lines(directory / "events.jsonl")
    return [event for event in lines if event["event"] == "planned"]


def trained(
    network: Network,
    pace: list[float],
    averaging: Any = "auto",
    leave: int = 0,
    surprise_s: float = 0.0,
) -> tuple[list[float], list[dict[str, Any]], dict[str, Any]]:
    """Train, hold everybody's end to that of one process, and return what was planned."""
    world = MPI.COMM_WORLD
    weights = np.zeros(2)
    with network, train.Run(global_batch=BATCH, averaging=averaging) as run:
        run.track(weights=weights)
        losses = run_steps(run, weights, pace, leave=leave, surprise_s=surprise_s)
        run.report(answer=42)
    expected, wanted = losses_of_one_process(leave or STEPS)
    np.testing.assert_allclose(weights, expected, rtol=1e-9)
    assert len(set(world.allgather(weights.tobytes()))) == 1
    longest = max(world.allgather(losses), key=len)
    np.testing.assert_allclose(longest, wanted, rtol=1e-9)
    world.Barrier()  # all is written
    lines = (run.directory / "metrics.jsonl").read_text().splitlines()
    steps_told = [json.loads(line)["step"] for line in lines]
    steps = len(wanted) - bool(leave)  # one that is left in its middle has not ended
    assert steps_told == list(range(1, steps + 1))
    result = json.loads((run.directory / "result.json").read_text())
    assert result["steps"] == steps
    assert result["final_loss"] == pytest.approx(wanted[-1])
    assert (result["world_size"], result["answer"]) == (world.size, 42)
    world.Barrier()
    return losses, events_of(run.directory), result


def check_all_train_where_the_wire_keeps_up() -> None:
    ranks = MPI.COMM_WORLD.size
    network = Network(NO_WIRE_S, (1e7,) * ranks)
    losses, planned, result = trained(network, [SLOW, SLOW, 2 * SLOW, 2 * SLOW][:ranks])
    assert len(losses) == STEPS
    if ranks == 1:
        assert planned == []
        return
    assert [event["resting"] for event in planned] == [[]]
    assert result["strategy"] == "dense"
    assert result["predicted_step_s"] > 0
    assert result["step_s"] > 0


def check_the_fastest_trains_alone_on_a_slow_wire(fastest: int) -> None:
    ranks = MPI.COMM_WORLD.size
    pace = [FAST if rank == fastest else SLOW for rank in range(ranks)]
    others = [rank for rank in range(ranks) if rank != fastest]
    network = Network(SLOW_WIRE_S, (1e7,) * ranks)
    losses, planned, result = trained(network, pace)
    assert [event["resting"] for event in planned] == [others]
    assert (len(losses) == STEPS) == (MPI.COMM_WORLD.rank == fastest)
    assert result["strategy"] == "alone"


def check_a_slow_link_is_weighed() -> None:
    ranks = MPI.COMM_WORLD.size
    network = Network(SLOW_WIRE_S / 5, (1e4, *(1e6 for _ in range(ranks - 1))))
    averaging = train.Auto(rest=False)
    _, planned, result = trained(network, [SLOW] * ranks, averaging)
    assert [event["strategy"] for event in planned] == ["weighted"]
    assert result["strategy"] == "weighted"


def check_who_was_wrong_goes_back() -> None:
    """Alone it is slower than was believed: after some steps all train again."""
    ranks = MPI.COMM_WORLD.size
    network = Network(SLOW_WIRE_S, (1e7,) * ranks)
    pace = [FAST, *(SLOW for _ in range(ranks - 1))]
    _, planned, result = trained(network, pace, surprise_s=2 * SLOW_WIRE_S)
    assert [bool(event["resting"]) for event in planned] == [True, False]
    assert result["strategy"] == "dense"


def check_who_becomes_slow_is_left_out() -> None:
    """Every rank looks at the same steps, which need not be taken for that."""
    ranks = MPI.COMM_WORLD.size
    with Network(NO_WIRE_S, (1e7,) * ranks):
        averaging = Automatic(MPI.COMM_WORLD, train.Auto(), overlap=False)
    averaging.traffic.sent_bytes = 1000
    with mock.patch("beowulf.train.planner.AT_MOST_EVERY_STEPS", 5):
        planner = Planner(averaging, BATCH, [f"n{rank}" for rank in range(ranks)], lambda: True)
    balancer = Balancer(ranks, BATCH)
    pace, told = [SLOW] * ranks, []
    for step in range(STEPS):
        if step == STEPS // 3:
            pace[1:] = [50 * SLOW] * (ranks - 1)
        shares = tuple(split(BATCH, balancer.weights))
        compute_s = tuple(share * one for share, one in zip(shares, pace, strict=True))
        balancer.observe(shares, compute_s)
        changed, wire_s = balancer.has_changed, SLOW * BATCH / 3
        planner.see(shares, compute_s, max(compute_s) + wire_s, wire_s, has_changed=changed)
        plan = planner.next_plan(balancer, lead=0)
        if plan is not None:
            told.append(plan.plan.ranks)
        if len(told) == 2:  # of what follows, the steps would have to tell
            break
    averaging.close(wait=True)
    assert told == [tuple(range(ranks)), (0,)]


def check_leaving_the_loop_calls_the_others_back() -> None:
    ranks = MPI.COMM_WORLD.size
    pace = [FAST, *(SLOW for _ in range(ranks - 1))]
    trained(Network(SLOW_WIRE_S, (1e7,) * ranks), pace, leave=40)


def check_scripts_that_talk_themselves_keep_all_at_work() -> None:
    ranks = MPI.COMM_WORLD.size
    pace = [FAST, *(SLOW for _ in range(ranks - 1))]
    weights = np.zeros(2)
    with Network(SLOW_WIRE_S / 10, (1e7,) * ranks), train.Run(global_batch=BATCH) as run:
        run.track(weights=weights)
        assert run.comm.size == ranks
        assert len(run_steps(run, weights, pace, 30)) == 30
        assert [event["resting"] for event in events_of(run.directory)] in ([[]], [])


def check_what_needs_those_who_rest_is_refused() -> None:
    ranks = MPI.COMM_WORLD.size
    weights = np.zeros(2)
    network = Network(SLOW_WIRE_S, (1e7,) * ranks)
    with network, train.Run(global_batch=BATCH) as run:
        run.track(weights=weights)
        for batch in run.batches(SAMPLES, steps=40):
            gradient, loss = np.zeros(2), 0.0
            for part in batch:
                time.sleep(len(part) * (SLOW if run.rank else FAST))
                gradient, loss = sums(weights, part)
            run.average(gradient, loss)

            if batch.step == 35 and run.rank == 0:
                with pytest.raises(TrainingError, match="comm: a machine rests"):
                    _ = run.comm
                with pytest.raises(TrainingError, match="dataset: a machine rests"):
                    run.dataset(lambda: X)


def check_on_three_ranks() -> None:
    check_all_train_where_the_wire_keeps_up()
    check_the_fastest_trains_alone_on_a_slow_wire(0)
    check_the_fastest_trains_alone_on_a_slow_wire(2)
    check_a_slow_link_is_weighed()
    check_leaving_the_loop_calls_the_others_back()
    check_scripts_that_talk_themselves_keep_all_at_work()
    check_what_needs_those_who_rest_is_refused()


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_all_train_where_the_wire_keeps_up(ranks: int) -> None:
    on_ranks(ranks, check_all_train_where_the_wire_keeps_up)


def test_every_choice_on_three_ranks() -> None:
    on_ranks(3, check_on_three_ranks)


def test_a_plan_that_does_not_keep_its_promise_is_given_up() -> None:
    on_ranks(2, check_who_was_wrong_goes_back)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_there_is_another_plan_when_speeds_change_for_good(ranks: int) -> None:
    on_ranks(ranks, check_who_becomes_slow_is_left_out)

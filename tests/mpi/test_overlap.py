"""Gradients that travel while others are computed: the same numbers as one process's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from beowulf.errors import TrainingError
from beowulf.train import Run
from beowulf.train.buckets import BUCKET_BYTES
from beowulf.train.dense import Dense
from beowulf.train.exchange import Plain
from beowulf.train.overlap import LEARNING_STEPS, TURNS
from tests.mpi.launch import on_ranks

RANKS = [1, 2, 3, 4]
SAMPLES, BATCH, STEPS = 60, 16, 9
WIDE = BUCKET_BYTES // 4 // 3  # 3 x WIDE of float32 fill a bucket
Weights = dict[str, np.ndarray]


def fresh_weights() -> Weights:
    """Two types, three buckets: what comes first in the forward pass travels last."""
    rng = np.random.default_rng(5)
    return {
        "a": rng.normal(size=(3, 4)).astype(np.float32),
        "b": rng.normal(size=(4, WIDE)).astype(np.float32) / 100,
        "c": rng.normal(size=5),
        "d": rng.normal(size=(3, WIDE)).astype(np.float32) / 100,
        "e": np.zeros(2, np.float16),
    }


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(SAMPLES, 3)).astype(np.float32), rng.normal(size=SAMPLES)


def add_gradient(name: str, gradients: Weights, weights: Weights, part: np.ndarray) -> None:
    """Add the sum over the samples of ``part`` of something that depends on each of them."""
    x, y = data()
    if name == "a":
        gradients["a"] += x[part].T @ np.tanh(x[part] @ weights["a"])
    elif name == "e":
        gradients["e"] += y[part].sum() * np.ones(2, gradients["e"].dtype)
    else:
        scale = (x[part].sum(axis=1) * y[part]).sum()
        gradients[name] += (scale + len(part) * weights[name]).astype(weights[name].dtype)


def train(run: Run, *, say_ready: bool) -> tuple[Weights, list[float]]:
    _, y = data()
    weights = fresh_weights()
    run.track(weights=weights)
    gradients = run.gradients(weights)
    assert list(gradients) == list(weights)
    losses = []
    for batch in run.batches(SAMPLES, steps=STEPS):
        for gradient in gradients.values():
            gradient[...] = 0
        loss = 0.0
        for part in batch:
            loss += float((y[part] ** 2).sum())
            for name in reversed(gradients):
                add_gradient(name, gradients, weights, part)
                if say_ready:
                    run.ready(gradients[name])
        losses.append(run.average(gradients, loss))
        assert len(run.compute_s) == run.world_size
        assert all(seconds > 0 for seconds in run.compute_s)
        assert len(set(run.comm.allgather(run.compute_s))) == 1
        for name, gradient in gradients.items():
            weights[name] -= (0.01 * gradient).astype(weights[name].dtype)
    return weights, losses


def one_process() -> tuple[Weights, list[float]]:
    """The same training without beowulf's averaging: what every split must equal."""
    from beowulf.train.batches import Schedule

    _, y = data()
    weights, losses = fresh_weights(), []
    for _, _, indices in Schedule(SAMPLES, BATCH, 0).global_batches(0, STEPS):
        gradients = {
            n: np.zeros(w.shape, np.promote_types(w.dtype, np.float32)) for n, w in weights.items()
        }
        for name in gradients:
            add_gradient(name, gradients, weights, indices)
        losses.append(float((y[indices] ** 2).sum()) / len(indices))
        for name, gradient in gradients.items():
            weights[name] -= (0.01 * (gradient / len(indices))).astype(weights[name].dtype)
    return weights, losses


def check_any_split_gives_what_one_process_gives() -> None:
    expected, losses = one_process()
    size = MPI.COMM_WORLD.size
    options: list[dict[str, Any]] = [
        {"overlap": True, "shares": [3, 1, 0, 2][:size]},
        {"overlap": True, "micro_batch": 2},
        {"overlap": False, "shares": [1, 0, 5, 2][:size]},
        {"overlap": None},
        {"averaging": "naive", "shares": [0, 1, 1, 0][:size] if size > 1 else [1]},
    ]
    for chosen in options:
        for say_ready in (True, False):
            with Run(global_batch=BATCH, **chosen) as run:
                weights, found = train(run, say_ready=say_ready)
                for name, weight in weights.items():
                    rough = 2e-3 if weight.dtype == np.float16 else 1e-5
                    np.testing.assert_allclose(weight, expected[name], rtol=rough, atol=rough)
                np.testing.assert_allclose(found, losses, rtol=1e-12)
                bits = [weight.tobytes() for weight in weights.values()]
                assert run.comm.bcast(bits) == bits
        assert "beowulf-courier" not in {thread.name for thread in threading.enumerate()}


def check_buckets_leave_early_and_by_a_thread() -> None:
    """Who exchanges which bucket, and when: by the thread, before the last gradient is there."""
    comm = MPI.COMM_WORLD
    seen: list[tuple[str, int]] = []
    left = threading.Event()

    class Watched(Plain):
        def __call__(self, comm: MPI.Comm, bucket: Any) -> None:
            seen.append((threading.current_thread().name, bucket.index))
            super().__call__(comm, bucket)
            left.set()

    dense = Dense(comm, Watched(), overlap=True)
    gradients = dense.gradients([np.zeros(3), np.zeros(BUCKET_BYTES // 8), np.zeros(7)])
    for _ in range(2):
        seen.clear()
        left.clear()
        dense.begin(comm.size, 1)
        dense.step.is_last_part = True
        for gradient in reversed(gradients):
            gradient[...] = 1.0
        dense.ready(gradients[2])
        dense.ready(gradients[1])
        if comm.size > 1:
            assert left.wait(60)
        for gradient in gradients[1:]:
            with pytest.raises(ValueError, match="read-only"):
                gradient[...] = 1
        gradients[0] += 0.0  # not ready: may still be written to
        dense.average(gradients, 0.0, 0.0)
        assert [gradient.max() for gradient in gradients] == [1.0, 1.0, 1.0]
        gradients[2][...] = 5.0  # may be written to again
        expected = [("beowulf-courier", index) for index in range(3)] if comm.size > 1 else []
        assert seen == expected
    dense.close(wait=True)


def check_misuse_is_refused() -> None:
    comm = MPI.COMM_WORLD
    with pytest.raises(TrainingError, match=r"none of the arrays of run\.gradients"):
        Dense(comm, Plain()).ready(np.zeros(3))
    if comm.size == 1:
        return
    shape = BUCKET_BYTES // 8
    misuses: list[Callable[[Dense], object]] = [
        lambda dense: dense.average([np.zeros(3)], 0.0, 0.0),
        lambda dense: dense.begin(1, 1),
        lambda dense: dense.gradients(np.zeros(3)),
    ]
    for misuse in misuses:
        dense = Dense(comm, Plain(), overlap=True)
        gradients = dense.gradients([np.zeros(shape), np.zeros(shape)])
        dense.begin(1, 1)
        dense.step.is_last_part = True
        dense.ready(gradients[1])
        with pytest.raises(TrainingError, match="on their way"):
            misuse(dense)
        dense.average(gradients, 0.0, 0.0)
        dense.close(wait=True)


def check_an_error_in_the_thread_reaches_the_script() -> None:
    comm = MPI.COMM_WORLD
    if comm.size == 1:
        return

    class Broken(Plain):
        def __call__(self, comm: MPI.Comm, bucket: Any) -> None:  # noqa: ARG002 - Exchange
            raise MPI.Exception(MPI.ERR_OTHER)

    dense = Dense(comm, Broken(), overlap=True)
    gradients = dense.gradients([np.zeros(BUCKET_BYTES // 8)] * 2)
    dense.begin(1, 1)
    dense.step.is_last_part = True
    dense.ready(gradients[1])
    with pytest.raises(MPI.Exception):
        dense.average(gradients, 0.0, 0.0)
    dense.close(wait=True)


def check_the_trial_ends_alike_everywhere() -> None:
    comm = MPI.COMM_WORLD
    said: list[str] = []
    dense = Dense(comm, Plain(), say=said.append)
    gradients = dense.gradients([np.zeros(BUCKET_BYTES // 8)] * 2)
    choices = []
    for _ in range(LEARNING_STEPS + 2 * TURNS + 2):
        dense.begin(1, 1)
        choices.append(dense.step.overlaps)
        dense.step.is_last_part = True
        dense.ready(gradients[1])
        dense.average(gradients, 0.0, 0.0)
    assert len(set(comm.allgather(tuple(choices)))) == 1
    if comm.size == 1:
        assert not any(choices)
        assert not said
    else:
        assert choices[:LEARNING_STEPS] == [False] * LEARNING_STEPS
        assert choices[LEARNING_STEPS : LEARNING_STEPS + 4] == [True, False, True, False]
        assert choices[-1] == choices[-2]
        assert len(said) == (0 if choices[-1] else 1)
    dense.close(wait=True)


def check_other_parameters_are_noticed() -> None:
    """A rank that holds other parameters is named, on every rank, at the step that is checked."""
    size = MPI.COMM_WORLD.size
    for at in (1, 100):
        with Run(global_batch=4, checkpoint_every_s=None) as run:
            weights = np.zeros(3)
            run.track(weights=weights, note={"per rank": run.rank})

            def train_until_the_end(
                at: int = at, run: Run = run, weights: np.ndarray = weights
            ) -> int:
                for batch in run.batches(40, steps=105):
                    run.average(np.zeros(3))
                    weights += 1.0
                    if batch.step == at and run.rank == size - 1 > 0:
                        weights[1] = np.nextafter(weights[1], 2.0)
                return batch.step

            if size == 1:
                assert train_until_the_end() == 105
            else:
                with pytest.raises(TrainingError, match=f"after step {at} rank {size - 1} holds"):
                    train_until_the_end()


def check_everything() -> None:
    check_any_split_gives_what_one_process_gives()
    check_buckets_leave_early_and_by_a_thread()
    check_misuse_is_refused()
    check_an_error_in_the_thread_reaches_the_script()
    check_the_trial_ends_alike_everywhere()
    check_other_parameters_are_noticed()


@pytest.mark.parametrize("ranks", RANKS)
def test_gradients_that_travel_early_are_those_of_one_process(ranks: int) -> None:
    on_ranks(ranks, check_everything)

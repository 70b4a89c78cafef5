"""Every way of averaging gives what the naive one gives, at any number of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from beowulf.errors import TrainingError
from beowulf.train.arrays import LARGE_BYTES
from beowulf.train.averaging import Averaging
from beowulf.train.control import Told
from beowulf.train.strategy import STRATEGIES, averaging_named
from tests.mpi.launch import on_ranks

RANKS = [1, 2, 3, 4]
SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (1000,)]
EXACT = [name for name in STRATEGIES if name in ("naive", "dense", "weighted")]


def arrays_of(rank: int, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(rank)
    return [np.asarray(rng.normal(size=shape), dtype=dtype) for shape in SHAPES]


def average(averaging: Averaging, gradients: Any, samples: int, loss: float = 0.0) -> Told:
    averaging.begin(samples, 1)
    return averaging.average(gradients, loss, 0.0)


def check_everything() -> None:
    for strategy in EXACT:
        for dtype in ("float32", "float64"):
            check_sum_over_samples(strategy, dtype)
        check_all_ranks_hold_the_same_bits(strategy)
        check_views_and_transposed_arrays_are_averaged_in_place(strategy)
        for container in ("list", "tuple", "dict"):
            check_containers(strategy, container)
        check_what_is_told(strategy)
    check_refusals()
    check_large_arrays_give_what_naive_gives()
    check_a_change_of_shapes_is_noticed()
    check_ranks_that_bring_others_are_named()


def check_sum_over_samples(strategy: str, dtype: str) -> None:
    comm = MPI.COMM_WORLD
    mine = arrays_of(comm.rank, dtype)
    average(averaging_named(strategy, comm), mine, 10)
    everybody = [arrays_of(rank, dtype) for rank in range(comm.size)]
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    for index, array in enumerate(mine):
        expected = sum(arrays[index].astype(np.float64) for arrays in everybody) / 10
        np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)
        assert array.dtype == dtype


def check_all_ranks_hold_the_same_bits(strategy: str) -> None:
    comm = MPI.COMM_WORLD
    averaging = averaging_named(strategy, comm)
    for _ in range(3):  # buffers that are kept must not leak from one step to the next
        mine = [*arrays_of(comm.rank, "float32"), *arrays_of(comm.rank, "float64")]
        average(averaging, mine, 7)
        bits = [array.tobytes() for array in mine]
        assert comm.bcast(bits) == bits


def check_views_and_transposed_arrays_are_averaged_in_place(strategy: str) -> None:
    comm = MPI.COMM_WORLD
    whole = np.arange(24.0).reshape(4, 6)
    views = [whole[:, ::2], whole[:, 1::2].T]
    average(averaging_named(strategy, comm), views, 2 * comm.size)
    np.testing.assert_allclose(whole, np.arange(24.0).reshape(4, 6) / 2)


def check_containers(strategy: str, container: str) -> None:
    comm = MPI.COMM_WORLD
    a, b = np.full(3, float(comm.rank)), np.full((2, 2), 1.0, np.float16)
    gradients = {"list": [a, b], "tuple": (a, b), "dict": {"b": b, "a": a}}[container]
    average(averaging_named(strategy, comm), gradients, comm.size)
    np.testing.assert_allclose(a, (comm.size - 1) / 2)
    np.testing.assert_allclose(b, 1.0)


def check_what_is_told(strategy: str) -> None:
    """The loss and the seconds arrive with each rank's own value, whatever they travel with."""
    comm = MPI.COMM_WORLD
    averaging = averaging_named(strategy, comm)
    losses = [1 / (rank + 3) for rank in range(comm.size)]
    for dtype in (np.float32, np.float64, None):
        gradients = [] if dtype is None else [np.ones(3, dtype)]
        averaging.begin(5, 1)
        told = averaging.average(gradients, losses[comm.rank], comm.rank + 0.5)
        assert told.loss_sum == pytest.approx(sum(losses), rel=1e-15)
        assert told.compute_s == tuple(rank + 0.5 for rank in range(comm.size))
        assert len(set(comm.allgather(told))) == 1


def check_refusals() -> None:
    averaging = averaging_named("dense", MPI.COMM_WORLD)
    for bad in (np.zeros(3, np.int64), [np.zeros(3), "x"], "text", 3.0, {"a": None}):
        with pytest.raises(TrainingError, match="gradients"):
            average(averaging, bad, 1)
    with pytest.raises(TrainingError, match=r"float128|longdouble"):
        average(averaging, np.zeros(3, np.longdouble), 1)
    with pytest.raises(TrainingError, match="gradients"):
        averaging.gradients({"a": np.zeros(3, np.int64)})


def large_and_small_arrays_of(rank: int) -> list[np.ndarray]:
    """Return arrays of both types; odd ranks keep some of them by columns."""
    rng = np.random.default_rng(rank)
    keep = np.asfortranarray if rank % 2 else np.ascontiguousarray
    shapes = [(200, 300), (300,), (100, 400), (3, 4), (600, 100)]
    return [
        keep(rng.normal(size=shape).astype(dtype))
        for dtype in ("float64", "float32")
        for shape in shapes
    ]


def check_large_arrays_give_what_naive_gives() -> None:
    comm = MPI.COMM_WORLD
    sizes = [array.nbytes for array in large_and_small_arrays_of(0)]
    assert min(sizes) < LARGE_BYTES < max(sizes)
    dense, naive = averaging_named("dense", comm), averaging_named("naive", comm)
    for samples in (64, 29, 64):  # the second time the buffers are there already
        plain, found = (large_and_small_arrays_of(comm.rank) for _ in range(2))
        average(naive, plain, samples)
        average(dense, found, samples)
        for one, other in zip(found, plain, strict=True):
            if comm.size == 2:  # two numbers have but one sum
                np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def check_a_change_of_shapes_is_noticed() -> None:
    comm = MPI.COMM_WORLD
    dense = averaging_named("dense", comm)
    for shape in [(3,), (4,), (LARGE_BYTES,), (2, 2), (3,)]:
        array = np.full(shape, float(comm.rank + 1))
        average(dense, [array, np.ones(1)], comm.size)
        np.testing.assert_array_equal(array, np.full(shape, (comm.size + 1) / 2))


def check_ranks_that_bring_others_are_named() -> None:
    comm = MPI.COMM_WORLD
    if comm.size == 1:
        return
    bad = comm.size - 1
    with pytest.raises(TrainingError, match=f"rank {bad} brings arrays of other types or shapes"):
        average(averaging_named("dense", comm), np.ones(2 + (comm.rank == bad)), 1)


@pytest.mark.parametrize("ranks", RANKS)
def test_every_way_gives_the_sum_over_ranks_divided_by_samples(ranks: int) -> None:
    on_ranks(ranks, check_everything)


def test_unknown_strategy_is_named_with_the_known_ones() -> None:
    with pytest.raises(TrainingError, match="choose from naive, dense"):
        averaging_named("magic", MPI.COMM_SELF)

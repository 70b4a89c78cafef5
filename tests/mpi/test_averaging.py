"""Every way of averaging gives what the naive one gives, at any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

from beowulf.errors import TrainingError
from beowulf.train.averaging import STRATEGIES, averaging_named
from beowulf.train.gradients import average_with
from tests.mpi.launch import on_ranks

RANKS = [1, 2, 3, 4]
SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (1000,)]


def arrays_of(rank: int, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(rank)
    return [np.asarray(rng.normal(size=shape), dtype=dtype) for shape in SHAPES]


def check_sum_over_samples(strategy: str, dtype: str) -> None:
    comm = MPI.COMM_WORLD
    mine = arrays_of(comm.rank, dtype)
    averaging_named(strategy)(comm, mine, 10)
    everybody = [arrays_of(rank, dtype) for rank in range(comm.size)]
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    for index, array in enumerate(mine):
        expected = sum(arrays[index].astype(np.float64) for arrays in everybody) / 10
        np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)
        assert array.dtype == dtype


def check_all_ranks_hold_the_same_bits(strategy: str) -> None:
    comm = MPI.COMM_WORLD
    averaging = averaging_named(strategy)
    for _ in range(3):  # buffers that are kept must not leak from one step to the next
        mine = [*arrays_of(comm.rank, "float32"), *arrays_of(comm.rank, "float64")]
        averaging(comm, mine, 7)
        bits = [array.tobytes() for array in mine]
        assert comm.bcast(bits) == bits


def check_views_and_transposed_arrays_are_averaged_in_place(strategy: str) -> None:
    comm = MPI.COMM_WORLD
    whole = np.arange(24.0).reshape(4, 6)
    averaging_named(strategy)(comm, [whole[:, ::2], whole[:, 1::2].T], 2 * comm.size)
    np.testing.assert_allclose(whole, np.arange(24.0).reshape(4, 6) / 2)


def check_containers_and_loss(container: str) -> None:
    comm = MPI.COMM_WORLD
    a, b = np.full(3, float(comm.rank)), np.full((2, 2), 1.0, np.float16)
    gradients = {"list": [a, b], "tuple": (a, b), "dict": {"b": b, "a": a}}[container]
    loss = np.array([float(comm.rank + 1)])
    average_with(averaging_named("dense"), comm, gradients, loss, comm.size)
    np.testing.assert_allclose(a, (comm.size - 1) / 2)
    np.testing.assert_allclose(b, 1.0)
    np.testing.assert_allclose(loss, (comm.size + 1) / 2)


def check_refusals() -> None:
    comm = MPI.COMM_WORLD
    loss = np.zeros(1)
    for bad in (np.zeros(3, np.int64), [np.zeros(3), "x"], "text", 3.0, {"a": None}):
        with pytest.raises(TrainingError, match="gradients"):
            average_with(averaging_named("dense"), comm, bad, loss, 1)
    with pytest.raises(TrainingError, match=r"float128|longdouble"):
        average_with(averaging_named("dense"), comm, np.zeros(3, np.longdouble), loss, 1)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("strategy", list(STRATEGIES))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_average_is_the_sum_over_ranks_divided_by_samples(
    ranks: int, strategy: str, dtype: str
) -> None:
    on_ranks(ranks, check_sum_over_samples, strategy, dtype)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_all_ranks_hold_the_same_bits_afterwards(ranks: int, strategy: str) -> None:
    on_ranks(ranks, check_all_ranks_hold_the_same_bits, strategy)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_views_are_averaged_in_place(ranks: int, strategy: str) -> None:
    on_ranks(ranks, check_views_and_transposed_arrays_are_averaged_in_place, strategy)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("container", ["list", "tuple", "dict"])
def test_containers_and_loss_are_averaged_together(ranks: int, container: str) -> None:
    on_ranks(ranks, check_containers_and_loss, container)


def test_what_mpi_cannot_add_is_refused() -> None:
    on_ranks(1, check_refusals)


def test_unknown_strategy_is_named_with_the_known_ones() -> None:
    with pytest.raises(TrainingError, match="choose from naive, dense"):
        averaging_named("magic")

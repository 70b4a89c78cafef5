"""Arrays that travel by themselves and arrays that travel together, in one step."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

from beowulf.train.averaging import LARGE_BYTES, averaging_named, is_large
from tests.mpi.launch import on_ranks

SHAPES = [(200, 300), (300,), (100, 400), (3, 4), (600, 100)]


def arrays_of(rank: int) -> list[np.ndarray]:
    """Return small and large arrays of both types; odd ranks keep some of them by columns."""
    rng = np.random.default_rng(rank)
    keep = np.asfortranarray if rank % 2 else np.ascontiguousarray
    return [
        keep(rng.normal(size=shape).astype(dtype))
        for dtype in ("float64", "float32")
        for shape in SHAPES
    ]


def check_dense_gives_what_naive_gives(samples: int) -> None:
    comm = MPI.COMM_WORLD
    dense = averaging_named("dense")
    sizes = [is_large((array.dtype, array.shape)) for array in arrays_of(0)]
    assert any(sizes)
    assert not all(sizes)
    for _ in range(2):  # the second time the buffers are there already
        plain, found = arrays_of(comm.rank), arrays_of(comm.rank)
        averaging_named("naive")(comm, plain, samples)
        dense(comm, found, samples)
        for one, other in zip(found, plain, strict=True):
            if comm.size == 2:  # two numbers have but one sum
                np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def check_a_change_of_shapes_is_noticed() -> None:
    comm = MPI.COMM_WORLD
    dense = averaging_named("dense")
    for shape in [(3,), (4,), (LARGE_BYTES,), (2, 2), (3,)]:
        array = np.full(shape, float(comm.rank + 1))
        dense(comm, [array, np.ones(1)], comm.size)
        np.testing.assert_array_equal(array, np.full(shape, (comm.size + 1) / 2))


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("samples", [64, 29])
def test_dense_gives_what_naive_gives(ranks: int, samples: int) -> None:
    on_ranks(ranks, check_dense_gives_what_naive_gives, samples)


def test_a_change_of_shapes_is_noticed() -> None:
    on_ranks(2, check_a_change_of_shapes_is_noticed)

"""Every exchange of buckets gives the ranks' sum, as exactly as it says, and everybody the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from mpi4py import MPI

from beowulf.limits.quantities import Wire
from beowulf.limits.wire import best_parts
from beowulf.train.buckets import Bucket, lay_out
from beowulf.train.exchange import Exchange
from beowulf.train.links import measured_links
from beowulf.train.parts import InHalfParts, InParts, Parts
from beowulf.train.powersgd import LowRank
from tests.mpi.launch import on_ranks

COMM = MPI.COMM_WORLD
TYPES = ["float32", "float64"]
EXACT = {"float32": 1e-6, "float64": 1e-14}  # of the sum of what was added up
HALF = 2.0**-10  # each contribution and the sum are rounded, by at most 2^-11 each
SIZES = [0, 1, 2, 7, 1000, 100_003]
SHAPES = [(64, 100), (100,), (32, 8, 3, 3), (4, 3), (10,), ()]


def numbers(size: int, rank: int, dtype: str) -> np.ndarray:
    """Return what a rank brings; the second of them has had no samples."""
    values = np.random.default_rng([size, rank]).normal(size=size).astype(dtype)
    return values * (rank != 1)


def assert_everybody_has(flat: np.ndarray) -> None:
    assert COMM.bcast(flat.tobytes()) == flat.tobytes()


def assert_adds_up(exchange: Exchange, size: int, dtype: str, tolerance: float) -> None:
    everybody = [numbers(size, rank, dtype).astype(np.float64) for rank in range(COMM.size)]
    flat = numbers(size, COMM.rank, dtype)
    exchange(COMM, Bucket(0, flat, (flat,)))
    assert_everybody_has(flat)
    bound = tolerance * np.sum(np.abs(everybody), axis=0) + tolerance * 1e-5
    assert (np.abs(flat - np.sum(everybody, axis=0)) <= bound).all()


def check_exchanges_in_parts() -> None:
    links = [[1.0] * COMM.size, [float(rank + 1) for rank in range(COMM.size)]]
    for dtype, speeds, size in itertools.product(TYPES, links, SIZES):
        assert_adds_up(InParts(best_parts(Wire(tuple(speeds)))), size, dtype, EXACT[dtype])
        assert_adds_up(InHalfParts(best_parts(Wire(tuple(speeds)))), size, dtype, HALF)
    one_owner = Parts(weights=[float(rank == COMM.size - 1) for rank in range(COMM.size)])
    for size in (5, 300_000):  # the larger one takes more than one go
        flat = np.full(size, 1.0 + COMM.rank)
        one_owner.add_up(COMM, flat)
        assert (flat == COMM.size * (COMM.size + 1) / 2).all()


def check_halves_reach_beyond_what_16_bits_hold() -> None:
    exchange = InHalfParts()
    for power in (-40, 40):
        flat = np.full(1000, 2.0**power, np.float32) * (COMM.rank + 1)
        exchange(COMM, Bucket(0, flat, (flat,)))
        assert (flat == COMM.size * (COMM.size + 1) / 2 * 2.0**power).all()
    flat = np.array([np.inf if COMM.rank == 0 else 1.0, 1.0], np.float32)
    exchange(COMM, Bucket(0, flat, (flat,)))
    assert np.isinf(flat[0])


def gradients_at(step: int, rank: int) -> list[np.ndarray]:
    """Return gradients that go on pointing in a few directions, with noise; rank 1 has none."""
    rng = np.random.default_rng([step, rank])
    lasting = np.random.default_rng(7)
    found = []
    for shape in SHAPES:
        noise = 0.1 * rng.normal(size=shape)
        found.append(np.asarray(lasting.normal(size=shape) + noise) * (rank != 1))
    return found


def check_low_rank_sends_all_in_the_end(dtype: str) -> None:
    """What was told and what is still to be told are together what there was, at any time."""
    outlines = [(np.dtype(dtype), shape) for shape in SHAPES]
    buckets, places, _ = lay_out(outlines, most_bytes=40_000)
    exchange = LowRank(rank=2, uncompressed_steps=0)
    told = [np.zeros(shape) for shape in SHAPES]
    real = [np.zeros(shape) for shape in SHAPES]
    for step in range(12):
        samples = 5 if step % 4 == 3 else 10  # the last batch of an epoch is smaller
        exchange.begin(samples)
        everybody = [gradients_at(step, rank) for rank in range(COMM.size)]
        for place, gradient in zip(places, everybody[COMM.rank], strict=True):
            place[...] = gradient
        for bucket in buckets:
            exchange(COMM, bucket)
            assert_everybody_has(bucket.flat)
        for index, place in enumerate(places):
            told[index] += place / samples
            real[index] += sum(gradients[index] for gradients in everybody) / samples
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    errors = {
        kept.error.shape: COMM.allreduce(kept.error) / samples
        for memory in exchange.memories.values()
        for kept in memory.matrices
    }
    assert set(errors) == {(64, 100), (32, 72)}
    for index, shape in enumerate(SHAPES):
        missing = real[index] - told[index]
        matrix = errors.get((shape[0], int(np.prod(shape[1:]))) if shape else ())
        expected = np.zeros(shape) if matrix is None else matrix.reshape(shape)
        np.testing.assert_allclose(missing, expected, atol=tolerance)
        if matrix is not None:
            assert np.linalg.norm(missing) > 0.01 * np.linalg.norm(real[index])


def check_low_rank_is_exact_for_what_is_of_low_rank() -> None:
    exchange = LowRank(rank=2, uncompressed_steps=1)
    flat = np.empty(50 * 60)
    for step in range(4):
        rng = np.random.default_rng(step if step else 99)
        ones = rng.normal(size=(COMM.size, 50))
        left = rng.normal(size=(COMM.size, 60)) if step == 0 else np.ones((COMM.size, 60))
        flat.reshape(50, 60)[...] = np.outer(ones[COMM.rank], left[COMM.rank])
        exchange(COMM, Bucket(0, flat, (flat.reshape(50, 60),)))
        expected = sum(np.outer(ones[rank], left[rank]) for rank in range(COMM.size))
        np.testing.assert_allclose(flat.reshape(50, 60), expected, atol=1e-9)
    flat[...] = 0  # every direction is lost, and found again
    for _ in range(2):
        exchange(COMM, Bucket(0, flat, (flat.reshape(50, 60),)))
    flat.reshape(50, 60)[...] = np.outer(np.arange(50.0), np.arange(60.0))
    exchange(COMM, Bucket(0, flat, (flat.reshape(50, 60),)))
    expected = COMM.size * np.outer(np.arange(50.0), np.arange(60.0))
    np.testing.assert_allclose(flat.reshape(50, 60), expected, atol=1e-8)


def check_everything() -> None:
    check_exchanges_in_parts()
    check_halves_reach_beyond_what_16_bits_hold()
    for dtype in TYPES:
        check_low_rank_sends_all_in_the_end(dtype)
    check_low_rank_is_exact_for_what_is_of_low_rank()
    speeds = measured_links(COMM)
    assert len(speeds) == COMM.size
    assert min(speeds) > 0
    assert COMM.bcast(speeds) == speeds


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_exchanges_add_up_and_say_the_same_to_everybody(ranks: int) -> None:
    on_ranks(ranks, check_everything)

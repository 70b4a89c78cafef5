"""Which samples a step trains on depends on the seed alone, not on who computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.train.averaging import Step
from beowulf.train.batches import Batch, Schedule
from beowulf.train.shares import split

if TYPE_CHECKING:
    pass

SCHEDULES = st.builds(
    Schedule,
    samples=st.integers(1, 300),
    global_batch=st.integers(1, 320),
    seed=st.integers(0, 2**63),
)
WEIGHTS = st.lists(st.floats(0, 9), min_size=1, max_size=6).filter(any)


def samples_of(schedule: Schedule, start: int, stop: int) -> list[list[int]]:
    return [indices.tolist() for _, _, indices in schedule.global_batches(start, stop)]


@given(SCHEDULES, st.integers(0, 5))
def test_every_epoch_shows_each_sample_exactly_once(schedule: Schedule, epoch: int) -> None:
    length = schedule.steps_per_epoch
    steps = list(schedule.global_batches(epoch * length, (epoch + 1) * length))
    assert len(steps) == length
    assert {of_epoch for _, of_epoch, _ in steps} == {epoch}
    shown = np.concatenate([indices for _, _, indices in steps])
    assert np.array_equal(np.sort(shown), np.arange(schedule.samples))


@given(SCHEDULES)
def test_only_the_last_batch_of_an_epoch_is_smaller(schedule: Schedule) -> None:
    sizes = [len(batch) for batch in samples_of(schedule, 0, 2 * schedule.steps_per_epoch)]
    half = len(sizes) // 2
    assert sizes[:half] == sizes[half:]
    assert all(size == schedule.global_batch for size in sizes[: half - 1])
    assert 1 <= sizes[half - 1] <= schedule.global_batch
    assert sum(sizes) == 2 * schedule.samples


@given(SCHEDULES, st.integers(0, 50), st.integers(0, 20), st.integers(0, 20))
def test_going_on_in_the_middle_shows_the_same_samples(
    schedule: Schedule, start: int, more: int, rest: int
) -> None:
    whole = samples_of(schedule, start, start + more + rest)
    first = samples_of(schedule, start, start + more)
    second = samples_of(schedule, start + more, start + more + rest)
    assert first + second == whole
    assert len(whole) == more + rest
    numbers = [step for step, _, _ in schedule.global_batches(start, start + more)]
    assert numbers == list(range(start, start + more))


@given(SCHEDULES, WEIGHTS, WEIGHTS)
def test_a_step_s_samples_do_not_depend_on_ranks_and_weights(
    schedule: Schedule, some: list[float], others: list[float]
) -> None:
    for _, _, indices in schedule.global_batches(0, 3):
        assert gathered(indices, some) == gathered(indices, others) == indices.tolist()


def gathered(
    indices: np.ndarray[tuple[int], np.dtype[np.int64]], weights: list[float]
) -> list[int]:
    """Split a step over ranks, take every rank's micro-batches, and put them together again."""
    shares = split(len(indices), weights)
    ends = np.cumsum(shares)
    found: list[int] = []
    for share, end in zip(shares, ends, strict=True):
        part = Batch(1, 1, len(indices), tuple(shares), indices[end - share : end], micro_batch=3)
        found += [int(sample) for micro_batch in part for sample in micro_batch]
    return found


def test_seeds_and_epochs_change_the_order() -> None:
    schedule = Schedule(samples=1000, global_batch=1000, seed=7)
    first, second = samples_of(schedule, 0, 2)
    assert first != second
    assert samples_of(Schedule(1000, 1000, seed=8), 0, 1) != [first]
    assert samples_of(Schedule(1000, 1000, seed=7), 0, 2) == [first, second]


def test_the_order_is_the_documented_one() -> None:
    """A checkpoint made today must go on with the same samples in every later version."""
    schedule = Schedule(samples=10, global_batch=4, seed=3)
    expected = [np.random.default_rng([3, epoch]).permutation(10).tolist() for epoch in (0, 1)]
    assert samples_of(schedule, 0, 6) == [
        order[first : first + 4] for order in expected for first in (0, 4, 8)
    ]


@given(st.integers(0, 50), st.none() | st.integers(1, 60))
def test_micro_batches_cover_the_share_in_order(size: int, micro_batch: int | None) -> None:
    indices = np.arange(100, 100 + size)
    parts = list(Batch(1, 1, 64, (size, 64 - size), indices, micro_batch))
    assert [int(sample) for part in parts for sample in part] == indices.tolist()
    assert all(len(part) <= (micro_batch or size) for part in parts)
    assert len(parts) == (-(-size // micro_batch) if micro_batch else min(1, size))


def test_an_empty_share_has_no_parts() -> None:
    assert list(Batch(1, 1, 64, (64, 0), np.empty(0, np.int64))) == []


@pytest.mark.parametrize(
    ("samples", "global_batch", "steps"),
    [(1, 1, 1), (64, 64, 1), (65, 64, 2), (10, 64, 1), (9, 3, 3)],
)
def test_steps_per_epoch(samples: int, global_batch: int, steps: int) -> None:
    assert Schedule(samples, global_batch, seed=0).steps_per_epoch == steps


@pytest.mark.parametrize(("count", "micro_batch"), [(5, None), (5, 5), (5, 2), (4, 2), (0, 2)])
def test_the_last_micro_batch_is_known_when_it_begins(count: int, micro_batch: int | None) -> None:
    step = Step()
    batch = Batch(1, 1, 5, (count,), np.arange(count), micro_batch, step)
    lasts = [step.is_last_part for _ in batch]
    assert lasts == [False] * (len(lasts) - 1) + [True] * (count > 0)

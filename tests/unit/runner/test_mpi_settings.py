"""Open MPI's settings: each with a reason, and rules that it can read."""

from __future__ import annotations

import re

import pytest

from beowulf.runner.mpi_settings import (
    CLUSTER,
    LOCAL,
    RECURSIVE_DOUBLING,
    RING,
    WORLDS,
    Setting,
    allreduce_rules,
    ring_from_bytes,
)


def numbers_of(rules: str) -> list[int]:
    """Read a file of rules as Open MPI does: numbers, and # for comments."""
    return [int(word) for word in re.sub(r"#.*", "", rules).split()]


def chosen(ranks: int, size: int) -> int:
    """Return which algorithm the rules give, by the last line that fits, as Open MPI does."""
    numbers = iter(numbers_of(allreduce_rules()))
    operations, operation, worlds = (next(numbers) for _ in range(3))
    assert (operations, operation) == (1, 2)
    found = 0
    for _ in range(worlds):
        world, rules = next(numbers), next(numbers)
        for _ in range(rules):
            from_bytes, algorithm, tree, segment = (next(numbers) for _ in range(4))
            assert (tree, segment) == (0, 0)
            if world <= ranks and from_bytes <= size:
                found = algorithm
    assert next(numbers, None) is None
    return found


@pytest.mark.parametrize("ranks", [2, 3, 4, 5, 15, 16, 31, 64, 127, 1000])
def test_few_bytes_take_few_trips_and_buckets_take_a_ring(ranks: int) -> None:
    assert chosen(ranks, 8) == RECURSIVE_DOUBLING
    assert chosen(ranks, 1_000_000) == RING


def test_the_more_ranks_the_later_a_ring_pays() -> None:
    sizes = [ring_from_bytes(ranks) for ranks in WORLDS]
    assert sizes == sorted(sizes)
    assert chosen(64, 100_000) == RECURSIVE_DOUBLING
    assert chosen(4, 100_000) == RING


@pytest.mark.parametrize("settings", [LOCAL, CLUSTER])
def test_each_setting_is_given_once_and_has_a_reason(settings: tuple[Setting, ...]) -> None:
    names = [setting.name for setting in settings]
    assert len(set(names)) == len(names)
    assert all(setting.reason and "\n" not in setting.reason for setting in settings)


def test_the_interface_is_the_cluster_s_business() -> None:
    assert not [one.name for one in CLUSTER if "_if_" in one.name]

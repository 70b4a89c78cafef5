"""Ranks of one node share the data set: one copy, seen by all, changed by none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from beowulf.errors import TrainingError
from beowulf.train.dataset import load_once_per_node
from tests.mpi.launch import on_ranks

RANKS = [1, 2, 3, 4]
MEGABYTE = 1 << 20


def check_everybody_sees_the_same(directory: str) -> None:
    comm = MPI.COMM_WORLD

    def load() -> dict[str, np.ndarray]:
        (Path(directory) / f"loaded-by-{comm.rank}").touch()
        records = np.array([(1, 2.5), (3, 4.5)], dtype=[("id", "i4"), ("x", "f8")])
        return {
            "images": np.arange(60, dtype=np.uint8).reshape(3, 4, 5),
            "labels": np.arange(7, dtype=np.int64) * 10,
            "empty": np.empty((0, 3), np.float32),
            "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "records": records,
        }

    data = load_once_per_node(comm, load)
    assert list(data) == ["images", "labels", "empty", "fortran", "records"]
    np.testing.assert_array_equal(data["images"].ravel(), np.arange(60))
    np.testing.assert_array_equal(data["labels"], np.arange(7) * 10)
    assert data["empty"].shape == (0, 3)
    np.testing.assert_array_equal(data["fortran"], np.arange(6.0).reshape(2, 3))
    assert data["records"]["x"].tolist() == [2.5, 4.5]
    for array in data.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    comm.Barrier()
    assert len(list(Path(directory).glob("loaded-by-*"))) == 1


def check_structures() -> None:
    comm = MPI.COMM_WORLD
    one = load_once_per_node(comm, lambda: np.arange(3))
    assert isinstance(one, np.ndarray)
    two = load_once_per_node(comm, lambda: (np.arange(3), np.ones(2)))
    assert [array.tolist() for array in two] == [[0, 1, 2], [1.0, 1.0]]


def check_memory_is_held_once() -> None:
    comm = MPI.COMM_WORLD
    data = load_once_per_node(comm, lambda: np.ones(64 * MEGABYTE, np.uint8))
    assert data.sum() == 64 * MEGABYTE  # every page is touched by every rank
    proportional = sum(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/smaps").read_text().splitlines()
        if line.startswith("Pss:")
    )
    ours = comm.allreduce(proportional) - comm.allreduce(own_share_without(data.nbytes))
    assert ours < 1.5 * data.nbytes, f"{ours} bytes are held for a data set of {data.nbytes}"


def own_share_without(nbytes: int) -> int:
    """Return this rank's memory besides the data set, from its private pages."""
    total = 0
    for block in Path("/proc/self/smaps").read_text().split("VmFlags:"):
        sizes = {
            line.split()[0]: int(line.split()[1]) * 1024
            for line in block.splitlines()
            if line.endswith(" kB")
        }
        if sizes.get("Size:", 0) < nbytes:
            total += sizes.get("Pss:", 0)
    return total


def check_refused() -> None:
    for load in (lambda: "text", lambda: [1, 2], lambda: np.array([object()])):
        with pytest.raises(TrainingError, match="dataset"):
            load_once_per_node(MPI.COMM_WORLD, load)


def check_too_large_is_explained() -> None:
    endless = np.broadcast_to(np.uint8(1), (10**14,))  # takes no memory until it is copied
    with pytest.raises(TrainingError, match=r"100000000 MB do not fit .* /dev/shm larger"):
        load_once_per_node(MPI.COMM_WORLD, lambda: endless)


def test_data_that_does_not_fit_into_shared_memory_is_explained() -> None:
    on_ranks(1, check_too_large_is_explained)


@pytest.mark.parametrize("ranks", RANKS)
def test_data_is_loaded_once_and_seen_by_all(ranks: int, tmp_path: Path) -> None:
    on_ranks(ranks, check_everybody_sees_the_same, str(tmp_path))


@pytest.mark.parametrize("ranks", RANKS)
def test_structure_is_kept(ranks: int) -> None:
    on_ranks(ranks, check_structures)


@pytest.mark.parametrize("ranks", [2, 4])
def test_memory_is_held_once_per_node(ranks: int) -> None:
    on_ranks(ranks, check_memory_is_held_once)


def test_other_than_arrays_is_refused() -> None:
    on_ranks(1, check_refused)

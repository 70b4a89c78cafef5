"""A rank knows its place, and finds what each framework looks for."""

from __future__ import annotations

import json

import pytest

from beowulf.errors import WorldSizeError
from beowulf.rank.environment import (
    Placement,
    framework_variables,
    read_placement,
    thread_variables,
)

FOUR = {
    "BEOWULF_RANKS": "4", "BEOWULF_ATTEMPT": "2", "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}  # fmt: skip
ENDPOINTS = ["node1:5001", "node1:5002", "node2:5003", "node2:5004"]


def test_a_rank_s_place_is_what_the_launcher_says() -> None:
    assert read_placement(FOUR) == Placement(rank=3, ranks=4, local_rank=1, attempt=2)


def test_a_single_rank_needs_no_launcher() -> None:
    assert read_placement({"BEOWULF_RANKS": "1"}) == Placement(0, 1, 0, 1)


@pytest.mark.parametrize(
    ("environ", "started"),
    [
        ({"BEOWULF_RANKS": "4"}, 1),
        ({**FOUR, "OMPI_COMM_WORLD_SIZE": "1"}, 1),
        ({**FOUR, "OMPI_COMM_WORLD_SIZE": "3"}, 3),
        ({**FOUR, "OMPI_COMM_WORLD_SIZE": "5"}, 5),
    ],
)
def test_another_world_than_promised_is_refused(environ: dict[str, str], started: int) -> None:
    with pytest.raises(WorldSizeError, match=f"promised 4 ranks, .* a world of {started}"):
        read_placement(environ)


def test_variables_of_every_framework() -> None:
    placement = Placement(rank=3, ranks=4, local_rank=1, attempt=2)
    variables = framework_variables(placement, ENDPOINTS)
    assert json.loads(variables.pop("TF_CONFIG")) == {
        "cluster": {"worker": ENDPOINTS},
        "task": {"type": "worker", "index": 3},
    }
    assert variables == {
        "BEOWULF_RANK": "3", "BEOWULF_RANKS": "4", "BEOWULF_ATTEMPT": "2",
        "MASTER_ADDR": "node1", "MASTER_PORT": "5001", "RANK": "3", "LOCAL_RANK": "1",
        "WORLD_SIZE": "4", "JAX_COORDINATOR_ADDRESS": "node1:5001", "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": "3",
    }  # fmt: skip


def test_all_ranks_meet_at_the_same_place() -> None:
    meetings = {
        framework_variables(Placement(rank, 4, 0, 1), ENDPOINTS)["MASTER_PORT"] for rank in range(4)
    }
    assert meetings == {"5001"}


def test_an_address_with_colons_is_kept_whole() -> None:
    variables = framework_variables(Placement(0, 1, 0, 1), ["[fe80::1]:5001"])
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("[fe80::1]", "5001")


@pytest.mark.parametrize(
    ("given", "sharers", "usable", "threads"),
    [
        ("4", "1", 4, "4"),  # what Slurm gave on this node
        ("4", "2", 8, "2"),  # shared by the ranks there, even where the kernel would allow more
        ("4", "1", 2, "2"),  # the kernel keeps the job to fewer
        ("", "2", 8, "4"),  # not Slurm
        ("2", "4", 2, "1"),  # more ranks than cores
        ("many", "some", 3, "3"),
    ],
)
def test_threads_are_this_rank_s_part_of_the_node(
    given: str, sharers: str, usable: int, threads: str
) -> None:
    environ = {
        "BEOWULF_THREAD_VARIABLES": "OMP_NUM_THREADS MKL_NUM_THREADS",
        "SLURM_CPUS_ON_NODE": given,
        "OMPI_COMM_WORLD_LOCAL_SIZE": sharers,
    }
    found = thread_variables(environ, usable)
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == (threads, threads)


def test_threads_that_the_batch_script_set_stay() -> None:
    assert thread_variables({"OMP_NUM_THREADS": "7", "SLURM_CPUS_ON_NODE": "4"}, 4) == {}

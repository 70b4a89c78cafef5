"""The program that measures the nodes, on real ranks; and the verb, on this computer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mpi4py import MPI

from beowulf.job.directory import JobDirectory
from beowulf.job.measured import newest_of, read_measured
from beowulf.measure import __main__ as program
from beowulf.measure import summing, wires
from tests.conftest import Beowulf
from tests.mpi.launch import on_ranks

QUICK_BYTES = 1 << 20


def check_that_all_is_measured(directory: str) -> None:
    wires.LARGEST_BYTES = QUICK_BYTES  # on every rank: no more than that is sent at a time
    program.COMPUTING_S = program.COPYING_S = 0.01
    os.environ["BEOWULF_JOB_DIR"] = directory
    program.main()
    MPI.COMM_WORLD.Barrier()  # rank 0 has written by now
    job = JobDirectory(Path(directory))
    found = read_measured(job.measured)
    assert found is not None
    assert read_measured(newest_of(job.path.parent)) == found
    names = [node.name for node in found.nodes]
    assert len(set(names)) == MPI.COMM_WORLD.size
    pairs = [(wire.source, wire.target) for wire in found.wires]
    assert sorted(pairs) == sorted((a, b) for a in names for b in names if a != b)
    for wire in found.wires:
        assert 0 < wire.latency_s < 1
        assert min(wire.bytes_per_s, wire.both_bytes_per_s) > 1e4
    sizes = [each.size_bytes for each in found.allreduce]
    assert sizes == list(summing.SIZES_BYTES)[: len(sizes)]
    assert len(sizes) >= 2


@pytest.mark.parametrize("ranks", [2, 3])
def test_all_nodes_and_all_wires_are_measured(tmp_path: Path, ranks: int) -> None:
    directory = tmp_path / "jobs" / "1"
    directory.mkdir(parents=True)
    printed = on_ranks(ranks, check_that_all_is_measured, str(directory))
    assert f"measuring how fast {ranks} nodes compute" in printed
    assert "  100 % of the wires" in printed


def test_this_computer_alone_is_a_job_like_any_other(beowulf: Beowulf, state_home: Path) -> None:
    answer = beowulf("bench", "--json")
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    (node,) = document["measured"]["nodes"]
    assert node["flops"] > 1e6
    assert (document["measured"]["wires"], document["findings"]) == ([], [])
    assert "measuring how fast 1 node computes" in answer.stderr
    kept = read_measured(state_home / "beowulf" / "measured.json")
    assert kept is not None
    assert kept.nodes[0].flops == node["flops"]
    (job,) = json.loads(beowulf("jobs", "--json").stdout)["jobs"]
    assert (job["id"], job["name"], job["state"]) == (document["job"], "bench", "COMPLETED")

"""Every rank appears in hello's table, once and in order."""

from __future__ import annotations

import platform

import pytest

from tests.conftest import Beowulf
from tests.mpi.example_jobs import assert_is_a_picture, run


@pytest.mark.parametrize("ranks", [1, 5])
def test_the_table_names_every_rank_in_order(beowulf: Beowulf, ranks: int) -> None:
    job = run(beowulf, "hello", ranks=ranks)
    lines = [line.split() for line in job.log.splitlines()]
    assert lines[0] == ["rank", "host", "local", "rank", "threads", "cores", "process", "cpu"]
    assert len(lines) == ranks + 1
    for rank, words in enumerate(lines[1:]):
        assert words[:4] == [str(rank), platform.node(), str(rank), "1"]
        assert len(words) > 6, "the processor has no name"
    assert len({words[5] for words in lines[1:]}) == ranks, "each rank is a process of its own"
    assert job.result["nodes"] == 1
    assert job.result["world_size"] == ranks
    assert_is_a_picture(job.directory.path / "ranks.png")


def test_the_job_as_it_stands_runs(beowulf: Beowulf) -> None:
    job = run(beowulf, "hello")
    assert [line.split()[0] for line in job.log.splitlines()] == ["rank", "0", "1", "2", "3"]

"""What ranks say of themselves comes back as it was, or not at all."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from beowulf.job.heartbeat import Heartbeat, read_heartbeat, read_heartbeats

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory


def test_a_heartbeat_comes_back_as_it_was(job: JobDirectory) -> None:
    said = Heartbeat(rank=2, attempt=3, state="failed", step=17, exit_code=1, error="café\n")
    said.write(job)
    assert read_heartbeat(job, 2) == said
    assert (said.host, said.pid) == (platform.node(), os.getpid())


def test_ranks_that_have_not_spoken_are_left_out(job: JobDirectory) -> None:
    for rank in (0, 3, 5):
        Heartbeat(rank=rank, attempt=1).write(job)
    assert [heartbeat.rank for heartbeat in read_heartbeats(job, 5)] == [0, 3]
    assert read_heartbeat(job, 1) is None


def test_words_of_another_attempt_are_left_out_where_one_is_asked_for(job: JobDirectory) -> None:
    for rank in (0, 1, 2):
        Heartbeat(rank=rank, attempt=1 + rank % 2).write(job)
    assert [heartbeat.rank for heartbeat in read_heartbeats(job, 3, attempt=1)] == [0, 2]
    assert [heartbeat.rank for heartbeat in read_heartbeats(job, 3, attempt=3)] == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"rank": 1}', json.dumps(asdict(Heartbeat(1, 1)) | {"extra": 1})],
)
def test_what_is_no_heartbeat_counts_as_silence(job: JobDirectory, content: str) -> None:
    job.heartbeat(1).write_text(content)
    assert read_heartbeat(job, 1) is None

"""Whoever holds a job's lock is responsible for it, until the last holder dies."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beowulf.job.lock import is_locked, take_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beowulf.job.directory import JobDirectory

HOLD = """
import sys, time
from pathlib import Path
from beowulf.job.directory import JobDirectory
from beowulf.job.lock import take_lock
assert take_lock(JobDirectory(Path(sys.argv[1]))) is not None
print("locked", flush=True)
time.sleep(600)
"""
WAIT_S = 60


@pytest.fixture
def lock(job: JobDirectory) -> Iterator[int]:
    """The lock of ``job``, taken by this process."""
    descriptor = take_lock(job)
    assert descriptor is not None
    yield descriptor
    os.close(descriptor)


def test_a_fresh_job_is_not_locked(job: JobDirectory) -> None:
    assert not is_locked(job)
    assert not job.lock.exists()


def test_a_lock_is_seen_and_let_go_by_closing(job: JobDirectory) -> None:
    descriptor = take_lock(job)
    assert descriptor is not None
    assert is_locked(job)
    os.close(descriptor)
    assert not is_locked(job)


def test_nobody_else_gets_a_lock_that_is_taken(job: JobDirectory, lock: int) -> None:
    before = open_files()
    assert take_lock(job) is None
    assert is_locked(job)
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_looking_does_not_let_go_of_the_lock(job: JobDirectory, lock: int) -> None:
    assert [is_locked(job) for _ in range(3)] == [True, True, True]


def test_a_killed_process_lets_go_of_its_lock(job: JobDirectory) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(job.path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert is_locked(job)
        assert take_lock(job) is None
        holder.kill()
        holder.wait(WAIT_S)
    assert not is_locked(job)
    again = take_lock(job)
    assert again is not None
    os.close(again)


def test_an_heir_keeps_the_lock_when_the_first_holder_lets_go(job: JobDirectory) -> None:
    descriptor = take_lock(job)
    assert descriptor is not None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(descriptor,)) as heir:
        os.close(descriptor)
        assert is_locked(job)
        heir.kill()
        heir.wait(WAIT_S)
    assert not is_locked(job)


def test_other_children_do_not_inherit_the_lock(job: JobDirectory) -> None:
    descriptor = take_lock(job)
    assert descriptor is not None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        os.close(descriptor)
        assert not is_locked(job)
        child.kill()


def test_those_who_look_are_not_in_the_way_of_taking(job: JobDirectory) -> None:
    def look() -> None:
        for _ in range(3000):
            is_locked(job)

    with ThreadPoolExecutor(4) as lookers:
        looking = [lookers.submit(look) for _ in range(4)]
        taken = 0
        while not all(future.done() for future in looking):
            descriptor = take_lock(job)
            assert descriptor is not None
            os.close(descriptor)
            taken += 1
    assert taken > 0
    assert [future.result() for future in looking] == [None] * 4

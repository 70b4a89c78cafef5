"""A lock is held by one, waited for, and let go of by the dead."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from beowulf.lab.locked import locked

HOLDER = """
import sys, time
from pathlib import Path
from beowulf.lab.locked import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    inside = most = 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(50):
            with locked(tmp_path / "lock"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (inside, most) == (0, 1)


def test_the_lock_of_a_killed_process_is_free_again(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    waited: list[str] = []

    def kill() -> None:
        waited.append("for the other")
        holder.kill()

    with locked(lock, kill):
        holder.wait()
    holder.stdout.close()
    assert waited == ["for the other"]


def test_nobody_waits_for_a_free_lock(tmp_path: Path) -> None:
    waited: list[str] = []
    with locked(tmp_path / "lock", lambda: waited.append("why")):
        pass
    assert waited == []


def test_the_lock_is_let_go_of_when_the_block_fails(tmp_path: Path) -> None:
    waited: list[str] = []
    for _ in range(2):
        with (
            pytest.raises(ZeroDivisionError),
            locked(tmp_path / "lock", lambda: waited.append("why")),
        ):
            _ = 1 / 0
    assert waited == []

"""A process that is tied to its parent ends with it, however the parent ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

WAIT_S = 60

CHILD = """
import os, signal, sys, time
from beowulf.job.parent import end_with_parent
end_with_parent(int(sys.argv[1]), signal.SIGKILL)
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {CHILD!r}, str(os.getpid())])
time.sleep(600)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's death"
)
def test_a_child_dies_with_its_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        try:
            assert child.is_running()
            parent.send_signal(signal.SIGKILL)
            parent.wait(WAIT_S)
            deadline = time.monotonic() + WAIT_S
            while _runs(child) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not _runs(child)
        finally:
            if _runs(child):
                child.kill()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_child_whose_parent_has_gone_ends_at_once() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(WAIT_S)
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, str(gone.pid)],
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stdout == b""

"""A heartbeat of MPI's that comes too early meets a function, not a null pointer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from beowulf.rank.early_heartbeats import DETECTOR_THREAD, is_watched

RECEIVE_ONE = """
import ctypes, importlib.util
from beowulf.rank import early_heartbeats as early

{before}
mpi = ctypes.CDLL(importlib.util.find_spec("mpi4py.MPI").origin)
receivers = (early._Receiver * early.KINDS).in_dll(mpi, early.TABLE)
ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(receivers[early.HEARTBEAT].function or 0)(
    None, None
)
from mpi4py import MPI
print(MPI.COMM_WORLD.size)
"""


def receive_one(before: str) -> subprocess.CompletedProcess[str]:
    """Call what Open MPI calls for a heartbeat, before MPI begins, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", RECEIVE_ONE.format(before=before)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_heartbeat_before_mpi_begins_is_ignored() -> None:
    received = receive_one("early.bear_early_heartbeats()")
    assert (received.returncode, received.stdout) == (0, "1\n"), received.stderr


def test_it_would_be_the_end_otherwise() -> None:
    assert receive_one("").returncode != 0


def test_without_mpi4py_nothing_is_done() -> None:
    hide = "import sys; sys.modules['mpi4py'] = None"
    ended = receive_one(f"{hide}\nearly.bear_early_heartbeats()\nraise SystemExit(7)")
    assert ended.returncode == 7


@pytest.mark.parametrize(("said", "watched"), [("true", True), ("1", True), ("false", False)])
def test_the_launcher_says_whether_mpi_watches(
    monkeypatch: pytest.MonkeyPatch, said: str, watched: bool
) -> None:
    monkeypatch.delenv(DETECTOR_THREAD, raising=False)
    assert not is_watched()
    monkeypatch.setenv(DETECTOR_THREAD, said)
    assert is_watched() == watched

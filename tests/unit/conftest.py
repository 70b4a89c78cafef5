"""What unit tests share: examples that are the same every time, people without root's powers."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import mpi4py
import pytest
from hypothesis import HealthCheck, settings

from beowulf.job.directory import JobDirectory
from tests.conftest import BEOWULF

if TYPE_CHECKING:
    from pathlib import Path

# Unit tests import what uses MPI, but start none: it would leave a directory behind.
mpi4py.rc.initialize = False

# The same examples on every machine and every day, however slow the machine is.
settings.register_profile(
    "unit",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("unit")

PR_CAPBSET_DROP = 24  # prctl(2)
OVERRIDING_CAPABILITIES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: capabilities(7)


class BoundBeowulf(Protocol):
    """Run ``beowulf`` as somebody whom file permissions hold back."""

    def __call__(
        self, *arguments: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def job(tmp_path: Path) -> JobDirectory:
    """An empty job directory."""
    path = tmp_path / "jobs" / "7"
    for part in ("code", "heartbeat", "checkpoints"):
        (path / part).mkdir(parents=True)
    return JobDirectory(path)


def short(value: object) -> str:
    """Name a parameter in a test's ID, which must not be as long as the parameter."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "huge"
    return repr(value)[:24] if len(repr(value)) < 10_000 else f"long {type(value).__name__}"


@pytest.fixture
def bound_beowulf(environment: dict[str, str], tmp_path: Path) -> BoundBeowulf:
    """Return ``beowulf`` for somebody whom file permissions hold back, as they do not hold root."""

    def run(
        *arguments: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BEOWULF, *arguments],
            cwd=tmp_path,
            env={**environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
            check=False,
            preexec_fn=_give_up_overriding,
        )

    closed = tmp_path / "closed"
    closed.touch(mode=0o000)
    try:
        probe = subprocess.run(
            [sys.executable, "-c", f"open({str(closed)!r})"],
            check=False,
            capture_output=True,
            preexec_fn=_give_up_overriding,
        )
    except subprocess.SubprocessError:
        pytest.skip("this root cannot give up its power over file permissions")
    closed.unlink()
    assert b"PermissionError" in probe.stderr
    return run


def _give_up_overriding() -> None:
    """Make permissions count for root as for everybody, from the next program on."""
    if os.geteuid() != 0:
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for capability in OVERRIDING_CAPABILITIES:
        if prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "PR_CAPBSET_DROP")

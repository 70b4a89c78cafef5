"""What every test needs: the command line as a process, in a state directory of its own."""

from __future__ import annotations

import errno
import os
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

BEOWULF = Path(sysconfig.get_path("scripts")) / "beowulf"
REPOSITORY = Path(__file__).parents[1]
SMALL_DISK_BYTES = 1 << 20


class Beowulf(Protocol):
    """Run ``beowulf`` with these arguments and wait for it."""

    def __call__(
        self,
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        timeout_s: float = 120,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def state_home(tmp_path: Path) -> Iterator[Path]:
    """A state directory for this test's jobs. Whatever its jobs leave running fails the test."""
    path = tmp_path / "state"
    path.mkdir()
    yield path
    deadline = time.monotonic() + 20  # a supervisor that wrote its last word may still be leaving
    while (left := processes_of_jobs_below(path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        process.kill()
    assert not left, f"the test left processes running: {left}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one megabyte."""
    path = tmp_path / "small-disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
        reason = mounted.stderr.strip() if mounted.returncode else ""
    except FileNotFoundError:
        reason = "there is no mount command"
    if reason:
        pytest.skip(f"cannot mount a small disk: {reason}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(directory: Path) -> Path:
    """Write to a disk until nothing more fits; return the file to remove to make room."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 8, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 - the loop has no other end
    return path


@pytest.fixture
def environment(state_home: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a user with no jobs and an empty home."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BEOWULF_")}
    return {
        **kept,
        "XDG_STATE_HOME": str(state_home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "HOME": str(home),
        "COLUMNS": "100",
    }


@pytest.fixture
def beowulf(environment: dict[str, str], tmp_path: Path) -> Beowulf:
    """Return a function that runs ``beowulf`` as a user would, from ``tmp_path``."""

    def run(
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        timeout_s: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BEOWULF, *arguments],
            cwd=cwd or tmp_path,
            env={**environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )

    return run


def processes_of_jobs_below(state_home: Path) -> list[psutil.Process]:
    """Return the living processes of all jobs in a state directory, supervisors included."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            in_job = process.environ().get("BEOWULF_JOB_DIR", "")
            supervises = "beowulf.runner.supervisor" in process.cmdline()
            places = [in_job, *(process.cmdline() if supervises else [])]
        except (psutil.Error, OSError):
            continue
        if any(place.startswith(f"{state_home}/") for place in places):
            found.append(process)
    return found

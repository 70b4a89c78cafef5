"""The head's program answers one request, and does not wait for ever for who asks."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from beowulf.head.frames import Frame

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.head.conftest import FakeSlurm

IMPATIENT = """
from beowulf.head import __main__ as program
program.CLIENT_SILENCE_S = 0.3
program.main()
"""
SUBMIT = Frame({
    "request": "submit", "key": "0" * 32, "name": "digits", "work_directory": "/", "entries": [],
})  # fmt: skip


def test_a_client_that_falls_silent_is_given_up(home: Path, slurm: FakeSlurm) -> None:
    del slurm
    program = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdin is not None
    assert program.stdout is not None
    with program:
        try:
            program.stdin.write(SUBMIT.encode())
            program.stdin.flush()
            assert b"missing" in program.stdout.readline()
            # The request stays open: nobody says that the client has gone.
            assert program.wait(timeout=60) == 1
        finally:
            program.kill()
    assert not [path for path in (home / "beowulf/jobs").iterdir() if path.name.isdecimal()]

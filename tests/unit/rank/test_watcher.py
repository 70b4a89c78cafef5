"""The watcher passes signals on, and is not taken down by one that comes too late."""

from __future__ import annotations

import signal
import subprocess

import pytest

from beowulf.rank.__main__ import forward_to, told_of


def test_a_signal_reaches_the_script() -> None:
    script = subprocess.Popen(["sleep", "60"])
    forward_to(script.pid)(signal.SIGTERM, None)
    assert script.wait(60) == -signal.SIGTERM


def test_a_signal_for_a_script_that_has_ended_is_forgotten() -> None:
    script = subprocess.Popen(["true"])
    script.wait(60)
    forward_to(script.pid)(signal.SIGTERM, None)


@pytest.mark.parametrize(
    ("ended", "said", "told"),
    [
        (0, "", (0, "")),
        (7, "sys.exit(7)", (7, "sys.exit(7)")),
        (-9, "", (137, "killed by signal 9 (SIGKILL)")),
        (195, "", (75, "cannot go on without MPI's launcher, which is gone")),
        (195, "sys.exit(195)", (195, "sys.exit(195)")),
    ],
)
def test_a_lost_launcher_is_no_fault_of_the_script(
    ended: int, said: str, told: tuple[int, str]
) -> None:
    assert told_of(ended, said) == told

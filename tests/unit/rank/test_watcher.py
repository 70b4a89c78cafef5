"""The watcher passes signals on, and is not taken down by one that comes too late."""

from __future__ import annotations

import signal
import subprocess

from beowulf.rank.__main__ import forward_to


def test_a_signal_reaches_the_script() -> None:
    script = subprocess.Popen(["sleep", "60"])
    forward_to(script.pid)(signal.SIGTERM, None)
    assert script.wait(60) == -signal.SIGTERM


def test_a_signal_for_a_script_that_has_ended_is_forgotten() -> None:
    script = subprocess.Popen(["true"])
    script.wait(60)
    forward_to(script.pid)(signal.SIGTERM, None)

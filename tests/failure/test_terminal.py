"""A job outlives the terminal it was submitted from; Ctrl-C only stops looking."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

from tests.conftest import BEOWULF, Beowulf
from tests.failure.conftest import TRAIN_SLOWLY, WAIT_S, Job, start_beowulf, write_script


def read_until(terminal: int, words: bytes) -> bytes:
    """Read from a terminal until some words have appeared."""
    seen = b""
    deadline = time.monotonic() + WAIT_S
    while words not in seen:
        assert time.monotonic() < deadline, seen
        seen += os.read(terminal, 4096)
    return seen


def submit_in_terminal(
    environment: dict[str, str], script: Path
) -> tuple[subprocess.Popen[bytes], int]:
    """Submit a job from a new terminal; return the process and the terminal's other end."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", BEOWULF, "submit", script, "--ranks", "2"],
        env={**environment, "TERM": "xterm", "COLUMNS": "120"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    return process, terminal


def test_job_outlives_its_terminal(
    beowulf: Beowulf, environment: dict[str, str], tmp_path: Path
) -> None:
    script = write_script(tmp_path, TRAIN_SLOWLY.format(steps=60, step_s=0.05))
    process, terminal = submit_in_terminal(environment, script)
    read_until(terminal, b"samples/s")  # the live line shows a step
    os.close(terminal)  # the window is closed: the kernel sends SIGHUP
    process.wait(WAIT_S)
    job = Job(beowulf, "1")
    assert job.status()["state"] in ("STARTING", "RUNNING")
    assert job.wait_until_over()["state"] == "COMPLETED"
    assert len(job.metrics()) == 60
    assert "trained" in beowulf("logs", "1").stdout


def test_interrupt_leaves_the_job_running_and_says_how_to_return(
    beowulf: Beowulf, environment: dict[str, str], slow_script: Path
) -> None:
    process = start_beowulf(
        environment, "submit", slow_script, "--ranks", "2",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    job: Job | None = None
    deadline = time.monotonic() + WAIT_S
    while job is None and time.monotonic() < deadline:
        if beowulf("status", "1").returncode == 0:
            job = Job(beowulf, "1")
    assert job is not None
    job.wait_for_training()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert b"goes on without you" in err
    for command in (b"beowulf logs -f 1", b"beowulf status 1", b"beowulf cancel 1"):
        assert command in err
    step = job.metrics()[-1]["step"]
    job.wait_until(lambda: job.metrics()[-1]["step"] > step)
    assert beowulf("cancel", "1").returncode == 0


def test_follow_shows_what_was_printed_and_what_is_still_to_come(
    beowulf: Beowulf, environment: dict[str, str], tmp_path: Path
) -> None:
    script = write_script(
        tmp_path,
        "import sys, time\n"
        "for line in range(20):\n"
        "    print('line', line)\n"
        "    time.sleep(0.05)\n"
        "sys.stdout.write('no newline at the end')\n",
    )
    assert beowulf("submit", script, "--ranks", "1", "--detach").returncode == 0
    time.sleep(0.7)
    answer = beowulf("logs", "-f")
    expected = "".join(f"line {n}\n" for n in range(20)) + "no newline at the end"
    assert answer.stdout == expected
    assert beowulf("logs", "--tail", "2").stdout == "line 19\nno newline at the end"

"""One thing is done at a time, and what became of it is heard of once."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import NoReturn

import pytest

from beowulf.train.background import Background

WAIT_S = 30.0

LEAVE_BY_AN_ERROR = """
import threading
from beowulf.train.background import Background
background = Background("test")
background.start(threading.Event().wait)
raise SystemExit(3)
"""


def test_who_starts_something_does_not_wait_for_it() -> None:
    background, may_go_on = Background("test"), threading.Event()

    def act() -> None:
        may_go_on.wait(WAIT_S)

    background.start(act)
    assert background.is_busy
    background.wait(0.01)
    assert background.hear() is None
    may_go_on.set()
    background.wait()
    assert background.hear() == (None,)
    assert background.hear() is None


def fail() -> NoReturn:
    raise IndexError


def test_an_error_is_handed_over() -> None:
    background = Background("test")
    for _ in range(2):
        background.start(fail)
        background.wait()
        heard = background.hear()
        assert heard is not None
        assert isinstance(heard[0], IndexError)


def test_nothing_is_begun_before_it_is_known_what_became_of_the_last() -> None:
    background = Background("test")
    background.start(lambda: None)
    background.wait()
    with pytest.raises(RuntimeError, match="not heard of"):
        background.start(lambda: None)


def test_a_program_that_fails_does_not_wait() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVE_BY_AN_ERROR], timeout=WAIT_S, check=False, capture_output=True
    )
    assert (ended.returncode, ended.stderr) == (3, b"")

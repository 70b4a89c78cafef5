"""Go on when a connection is lost: submit again, or follow from where the last one ended."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, TypeVar

from beowulf.errors import ConnectionLost, LaunchError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from beowulf.head.frames import Frame

T = TypeVar("T")
SUBMIT_TRIES = 5
TRY_AGAIN_S = 2.0
MOST_PAUSE_S = 30.0


def again_when_lost(once: Callable[[], T]) -> T:
    """Do what can be done again with the same key, until an answer comes.

    Raises:
        LaunchError: No answer came however often it was tried.
    """
    for tried in range(1, SUBMIT_TRIES + 1):
        try:
            return once()
        except Unreachable as lost:
            if tried == 1 and not isinstance(lost, ConnectionLost):
                raise  # nothing was ever sent
            if tried == SUBMIT_TRIES:
                raise LaunchError(
                    f"{lost}; whether the job was accepted is not known: beowulf jobs"
                ) from None
            _say(f"connection lost ({lost}); trying again")
            time.sleep(TRY_AGAIN_S * tried)
    raise AssertionError


def for_as_long_as_it_takes(
    frames: Callable[[], Iterator[Frame]], deadline: float = math.inf
) -> Iterator[Frame]:
    """Yield frames from one connection after another, until one of them tells the end.

    Raises:
        Unreachable: Not even the first connection could be made, or ``deadline`` of the
            monotonic clock has passed.
    """
    pause_s = 0.0
    connected = False
    while True:
        try:
            for frame in frames():
                connected = True
                if pause_s:
                    _say("connected again")
                    pause_s = 0.0
                yield frame
        except Unreachable as lost:
            if not connected and not isinstance(lost, ConnectionLost):
                raise
            if time.monotonic() >= deadline:
                raise
            if not pause_s:
                _say(f"connection lost ({lost}); trying again until it is back, Ctrl-C leaves")
            pause_s = min(MOST_PAUSE_S, pause_s * 2 or TRY_AGAIN_S)
            time.sleep(max(0.0, min(pause_s, deadline - time.monotonic())))
        else:
            return


def _say(words: str) -> None:
    print(f"beowulf: {words}", file=sys.stderr)

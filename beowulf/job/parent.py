"""Tie a process's life to its parent's."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Ask the kernel to send this process ``number`` when its parent dies, where it can.

    ``parent`` is the process ID the caller was forked from: if it is gone already,
    this process ends now. Only Linux has this; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)

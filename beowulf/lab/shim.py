"""Compile, where this computer's processor needs it, what User-Mode Linux lacks."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from beowulf.lab.locked import locked
from beowulf.transport.local import run

SOURCE = Path(__file__).with_name("xstate.c")
# Processors with more registers than User-Mode Linux's buffer holds say so with these.
FLAGS = re.compile(r"^flags\s*:.*\b(amx_tile|apx)", re.MULTILINE)


def needed(processor: str | None = None) -> bool:
    """Say whether the kernel of a node would panic on this computer's processor.

    ``processor`` is the text of ``/proc/cpuinfo``.
    """
    text = Path("/proc/cpuinfo").read_text() if processor is None else processor
    return FLAGS.search(text) is not None


def ensure_shim(cache: Path) -> Path:
    """Return the library to preload into User-Mode Linux, compiled once."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    library = cache / f"xstate-{digest}.so"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "xstate.lock"):
        if not library.exists():
            unfinished = library.with_suffix(".tmp")
            run(["cc", "-O2", "-shared", "-fPIC", "-o", unfinished, SOURCE])
            unfinished.rename(library)
    return library

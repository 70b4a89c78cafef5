"""Run a command on this computer."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import CommandFailed, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MOST_WORDS = 300


@dataclass(frozen=True)
class Finished:
    """A command that has ended: what it was, its exit status, and what it printed."""

    arguments: tuple[str, ...]
    status: int
    output: str
    errors: str


def run(
    arguments: Sequence[str | Path],
    *,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    check: bool = True,
) -> Finished:
    """Run a command to its end and return what it printed.

    ``environment`` is added to this process's own. With ``check`` an exit status
    other than 0 is an error.

    Raises:
        CommandFailed: The program is not installed, failed, or took longer than
            ``timeout_s`` seconds; it has been ended then.
    """
    words = tuple(str(word) for word in arguments)
    try:
        process = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **environment} if environment else None,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise CommandFailed(f"{words[0]}: not installed on this computer") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{shown(words)}: no end after {timeout_s:g} s") from None
    finished = Finished(words, process.returncode, process.stdout, process.stderr)
    if check and finished.status != 0:
        raise CommandFailed(explanation(finished))
    return finished


def explanation(finished: Finished) -> str:
    """Return in one line which command failed, how, and its own last words."""
    said = (finished.errors.strip() or finished.output.strip()).splitlines()
    last = one_line(said[-1].strip()) if said else "it printed nothing"
    return f"{shown(finished.arguments)}: exit {finished.status}: {last[-MOST_WORDS:]}"


def shown(words: Sequence[str]) -> str:
    """Return a command as a person may read it, cut where it is long."""
    text = one_line(" ".join(words))
    return text if len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]}..."

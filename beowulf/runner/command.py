"""The command of a job: its words as bytes, and the script that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable


def argument_vector(command: tuple[str, ...]) -> bytes:
    """Return a command as the kernel wants it: each word's bytes, ended by a NUL."""
    return b"".join(os.fsencode(word) + b"\0" for word in command)


def script_of(command: tuple[str, ...]) -> str | None:
    """Return the script that ``python SCRIPT ...`` runs, or None if the command is another."""
    is_python = command[0] in ("python", "python3") and len(command) > 1
    return command[1] if is_python and not command[1].startswith("-") else None


def refuse_missing_script(command: tuple[str, ...], came_along: Callable[[str], bool]) -> None:
    """Raise InvalidInput if the Python script to run is not in the snapshot.

    ``came_along`` says whether a path below the work directory is a file that is taken along.
    """
    script = script_of(command)
    if script is not None and not came_along(script):
        raise InvalidInput(
            "command",
            f"{script!r} is not among the files that the job takes along",
            "check its path below the work directory, .gitignore and .beowulfignore",
        )

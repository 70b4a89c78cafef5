"""Write a file so that whoever looks finds the old one or the new one, also after a power cut."""

from __future__ import annotations

import contextlib
import os
import tempfile


def write_whole(
    path: str | os.PathLike[str],
    data: str | bytes,
    *,
    mode: int | None = None,
    owner: tuple[int, int] | None = None,
) -> None:
    """Put a file in the place of whatever file or link is there, in a directory that exists.

    Args:
        path: Where.
        data: What is in it; text becomes UTF-8.
        mode: Its permissions. None keeps those of the file there is; a new one is its owner's.
        owner: The numbers of its user and group. None keeps those of the file there is.
    """
    path = os.fspath(path)
    directory = os.path.dirname(path) or "."
    if os.path.exists(path):
        there = os.stat(path)
        mode = there.st_mode & 0o7777 if mode is None else mode
        owner = (there.st_uid, there.st_gid) if owner is None else owner
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise
    sync_directory(directory)


def sync_directory(directory: str) -> None:
    """Have on the disk which files a directory has."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

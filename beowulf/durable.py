"""Write files that are whole or absent, and read files that may still be growing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A disk that is full, a quota that is used up, a server that cannot write: it may pass.
CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


def write_file(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace ``path`` by ``data`` in one step: a reader sees the old file or the new one.

    The data goes to a temporary name in the same directory and is renamed. With
    ``sync`` both the file and its directory reach the disk before this returns.

    Raises:
        OSError: The disk is full or the directory cannot be written; ``path`` is untouched.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the temporary name is a string
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - likewise
        raise
    if sync:
        sync_directory(path.parent)


def write_once(path: Path, data: bytes) -> bool:
    """Make ``path`` with ``data`` unless it is there; say whether it was this call that did.

    A link appears whole, and for one writer only, also where two hosts try at the same moment.

    Raises:
        OSError: The disk is full or the directory cannot be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)  # noqa: PTH108 - the temporary name is a string
    sync_directory(path.parent)
    return True


def sync_file(path: Path) -> None:
    """Make what was written to a file, by whomever on this computer, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make renames inside ``path`` survive a power cut."""
    sync_file(path)


def sync_file_system(path: Path) -> None:
    """Make all that was written to the file system of a directory survive a power cut.

    For many files at once this is much faster than a sync of each.

    Raises:
        OSError: Some of it could not be written.
    """
    import ctypes  # noqa: PLC0415 - for new jobs only, and every command imports this module

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # not Linux
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(descriptor)


def see_anew(directory: Path) -> None:
    """Let the next look at a name in ``directory`` ask the server, where that lies on NFS.

    To open a directory is to have it compared with the server's. Without that, a computer may
    believe for half a minute that a file which another one has written is not there.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))


def overwrite(path: Path, data: bytes) -> None:
    """Write ``data`` over a file of text, which takes no room on a disk that is full.

    What was longer is covered with spaces. A reader may see a mixture of both.

    Raises:
        OSError: There is no such file, or it has no room either.
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, data.ljust(os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object, *, sync: bool = True) -> None:
    """Replace ``path`` by one line of JSON, whole or not at all."""
    write_file(path, json.dumps(value).encode() + b"\n", sync=sync)


def read_json(path: Path) -> Any:
    """Return the JSON value in ``path``, or None where there is no such file or it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def append_json_line(path: Path, value: object) -> None:
    """Append one JSON line in a single write, so that two writers never mix their lines.

    It reaches the disk before this returns.

    Raises:
        OSError: The disk is full. Half a line may be there: the next one starts afresh.
    """
    line = json.dumps(value).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        # Another writer's line that is seen half-way makes an empty line here, which harms nobody.
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_to_append(path: Path) -> int:
    """Return a descriptor for ``append``. It stays with this very file if another replaces it."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def append(descriptor: int, data: bytes) -> None:
    """Append to a file that nobody else writes, all of it or nothing.

    Raises:
        OSError: The disk is full; the file is as it was.
    """
    size = os.fstat(descriptor).st_size
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)  # over NFS it may be refused only when the file is closed
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the complete JSON lines of ``path``; a missing file has none.

    A last line that is still being written is left out, and so is a damaged one.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return []
    return list(parse_json_lines(data))


def parse_json_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield each complete line of ``data`` that holds a JSON object."""
    for line in data.split(b"\n")[:-1]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def read_tail(path: Path, size: int) -> bytes:
    """Return the last ``size`` bytes of a file; a missing file has none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read()
    except OSError:
        return b""

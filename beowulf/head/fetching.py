"""Give a job's files to the client that asks for them, less those that it has."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beowulf.head.frames import CHUNK_BYTES, Frame
from beowulf.head.records import job_root
from beowulf.job.follow import LogReader, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beowulf.head.frames import Peer
    from beowulf.job.directory import JobDirectory

OF_NO_USE_ELSEWHERE = re.compile(r"supervisor\.lock|claim-[0-9]+")


def log(peer: Peer, document: dict[str, Any]) -> None:
    """Tell what a job has printed, or the end of it, piece by piece."""
    directory = named(document.get("id"))
    reader = LogReader(directory.log)
    tail = document.get("tail")
    for piece in pieces(reader, None if tail is None else int(tail)):
        peer.tell(piece, more=True)
    peer.tell(id=directory.job_id, offset=reader.offset)


def named(job_id: object) -> JobDirectory:
    """Return the directory of a job; without ID, of the newest."""
    root = job_root()
    return root.newest() if job_id is None else root.find(str(job_id))


def fetch(peer: Peer, document: dict[str, Any]) -> None:
    """Send a job's files: those that the client lacks, or has of another size or time.

    ``without`` names directories that stay here; ``have`` says what the client has.
    """
    directory = named(document.get("id"))
    have = {path: tuple(value) for path, value in document.get("have", {}).items()}
    for frame in files_of(directory, set(document.get("without", ())), have):
        peer.tell(frame.data, **frame.document)
    peer.tell(over=True, id=directory.job_id)


def files_of(
    directory: JobDirectory, without: set[str], have: dict[str, tuple[int, ...]]
) -> Iterator[Frame]:
    """Yield the frames that carry a job's files, less what ``have`` says is there already."""
    for path in _files(directory.path, without):
        name = str(path.relative_to(directory.path))
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                continue
            if have.get(name) == (status.st_size, status.st_mtime_ns):
                yield Frame({"kept": name})
            else:
                yield from _pieces(path, name, status)
        except FileNotFoundError:  # an old checkpoint that was removed just now
            continue


def _files(top: Path, without: set[str]) -> Iterator[Path]:
    """Yield what lies below ``top`` and is no directory; temporary files are left out."""
    for base, directories, names in os.walk(top):
        here = Path(base)
        if here == top:
            directories[:] = [name for name in directories if name not in without]
        directories.sort()
        for name in sorted(names):
            path = here / name
            hidden = name.startswith(".") and path.relative_to(top).parts[0] != "code"
            if not hidden and not (here == top and OF_NO_USE_ELSEWHERE.fullmatch(name)):
                yield path


def _pieces(path: Path, name: str, status: os.stat_result) -> Iterator[Frame]:
    with path.open("rb") as file:
        left = status.st_size  # a log that grows is sent as long as it was
        facts = {
            "path": name, "mode": status.st_mode & 0o777, "mtime_ns": status.st_mtime_ns,
        }  # fmt: skip
        while True:
            data = file.read(min(CHUNK_BYTES, left))
            left -= len(data)
            more = bool(left and data)
            yield Frame({**facts, "more": more}, data)
            if not more:
                return

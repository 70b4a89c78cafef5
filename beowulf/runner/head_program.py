"""Run beowulf's program on the head: copy it there once, ask it, and take its answers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beowulf import errors
from beowulf.errors import BeowulfError, CommandFailed, ConnectionLost, InvalidInput, one_line
from beowulf.head.frames import Frame, FrameReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beowulf.transport.connection import Connection, Conversation

PACKAGE = Path(__file__).parents[1]
PARTS = ("__init__.py", "errors.py", "durable.py", "job", "head")
NOT_THERE = 44
# How long the head may be silent. It gives a sign of life every few seconds where it waits.
ANSWER_TIMEOUT_S = 120.0
# What it says last is under way already when nothing more can be sent to it.
LAST_WORD_S = 10.0
ENDING_S = 10.0
# However little time is left, what is under way already is heard.
LEAST_S = 1.0
# Fixed words: what differs is the program's hash, as an argument.
START = """
program="$HOME/.cache/beowulf/head/$1"
[ -d "$program" ] || exit 44
exec /usr/bin/python3 -I -S -c '
import sys
sys.path.insert(0, sys.argv[1])
from beowulf.head.__main__ import main
main()' "$program"
"""
INSTALL = """
set -eu
umask 077
programs="$HOME/.cache/beowulf/head"
mkdir -p "$programs"
new=$(mktemp -d "$programs/.new-XXXXXXXX")
trap 'rm -rf "$new"' EXIT
tar -x -C "$new"
mv -T "$new" "$programs/$1" 2>/dev/null || [ -d "$programs/$1" ]
# Those of other versions, when nobody has started one for a month.
find "$programs" -mindepth 1 -maxdepth 1 -atime +30 -mtime +30 -exec rm -rf {} +
"""


class HeadProgram:
    """The program on the head at the other end of ``connection``."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @contextlib.contextmanager
    def ask(
        self,
        request: str,
        timeout_s: float = ANSWER_TIMEOUT_S,
        deadline: float = math.inf,
        **document: Any,
    ) -> Iterator[Dialogue]:
        """Start the program with one request and return the dialogue that follows.

        It is lost when nothing was heard for ``timeout_s`` seconds, or once ``deadline`` of the
        monotonic clock has passed.

        Raises:
            Unreachable, AccessDenied: There is no way to the head.
            CommandFailed: The head cannot run the program.
        """
        dialogue = self._start(timeout_s, deadline)
        try:
            if not dialogue.open(request, document):
                dialogue.conversation.close()
                self._install()
                dialogue = self._start(timeout_s, deadline)
                if not dialogue.open(request, document):
                    raise CommandFailed(
                        f"{self.connection.name}: beowulf's program is not where it was just put; "
                        f"is the home directory there writable?"
                    )
            yield dialogue
        finally:
            dialogue.conversation.close()

    def _start(self, timeout_s: float, deadline: float) -> Dialogue:
        conversation = self.connection.converse(["sh", "-c", START, "beowulf", digest()])
        return Dialogue(self.connection.name, conversation, timeout_s, deadline)

    def _install(self) -> None:
        with self.connection.converse(["sh", "-c", INSTALL, "beowulf", digest()]) as conversation:
            with contextlib.suppress(ConnectionLost):  # its end says why
                conversation.send(archive())
                conversation.end_input()
            done = conversation.finish(ANSWER_TIMEOUT_S)
        if done.status != 0:
            said = one_line(done.errors.strip()[-300:]) or f"exit {done.status}"
            raise CommandFailed(
                f"{self.connection.name}: cannot write beowulf's program to the home there: {said}"
            )


class Dialogue:
    """One run of the program: frames to it, and frames from it."""

    def __init__(
        self,
        name: str,
        conversation: Conversation,
        timeout_s: float,
        deadline: float = math.inf,
    ) -> None:
        self.name = name
        self.conversation = conversation
        self._timeout_s = timeout_s
        self.deadline = deadline
        self._reader = FrameReader(self._receive)
        self._first: Frame | None = None

    def open(self, request: str, document: dict[str, Any]) -> bool:
        """Send the request and say whether the program is there to take it.

        Raises:
            CommandFailed: The head cannot run it at all.
        """
        lost = None
        try:
            self._send(Frame({"request": request, **document}))
            self._first = self._reader.read()
        except ConnectionLost as error:  # it may have ended, or the wire
            lost = error
        if self._first is not None:
            return True
        ended = self.conversation.finish(self._patience(ENDING_S))
        if ended.status == NOT_THERE:
            return False
        said = one_line(ended.errors.strip()[-300:])
        if lost and not said:
            raise lost
        raise CommandFailed(
            f"{self.name}: cannot run beowulf's program there: "
            f"{said or f'it ended unasked, with status {ended.status}'}"
        )

    def tell(self, data: bytes = b"", **document: Any) -> None:
        """Send a frame.

        Raises:
            BeowulfError: Why the program takes no more: a full disk, a file that was changed.
            ConnectionLost: It or the way to it is gone, and it did not say why.
        """
        try:
            self._send(Frame(document, data))
        except ConnectionLost:
            self._timeout_s = min(self._timeout_s, LAST_WORD_S)
            with contextlib.suppress(ConnectionLost):
                while True:
                    self.hear()
            raise

    def _send(self, frame: Frame) -> None:
        self.conversation.send(frame.encode())

    def hear(self) -> Frame:
        """Return the program's next frame.

        Raises:
            BeowulfError: What the program raised, of the same kind.
            ConnectionLost: It is gone, or silent for too long.
        """
        frame, self._first = self._first or self._reader.read(), None
        if frame is None:
            raise ConnectionLost(f"{self.name}: the connection ended before the answer")
        if "error" in frame.document:
            raise _raised(frame.document["error"])
        return frame

    def answer(self) -> Frame:
        """Return the program's next frame that is more than a sign of life.

        Raises:
            BeowulfError: What the program raised, of the same kind.
            ConnectionLost: It is gone, or silent for too long.
        """
        while "waiting" in (frame := self.hear()).document:
            pass
        return frame

    def frames(self) -> Iterator[Frame]:
        """Yield the program's frames up to the one that says that it is over, left out."""
        while "over" not in (frame := self.hear()).document:
            yield frame

    def _receive(self, most: int) -> bytes:
        return self.conversation.receive(most, self._patience(self._timeout_s))

    def _patience(self, most_s: float) -> float:
        """Return for how long to wait for the next word."""
        return min(most_s, max(LEAST_S, self.deadline - time.monotonic()))


def _raised(wire: dict[str, Any]) -> BeowulfError:
    """Return the error that the head's program meant."""
    kind = getattr(errors, str(wire.get("kind")), BeowulfError)
    if kind is InvalidInput:
        return InvalidInput(str(wire["field"]), str(wire["problem"]), str(wire["remedy"]))
    error: BeowulfError = kind(str(wire.get("message")))
    return error


@cache
def digest() -> str:
    """Return the hash that names the program for the head: of its files and their names."""
    found = hashlib.sha256()
    for name, content in _files():
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()[:16]


def archive() -> bytes:
    """Return the program for the head as a tar archive."""
    import tarfile  # noqa: PLC0415 - slow to import, and it is rarely sent

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, content in _files():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _files() -> Iterator[tuple[str, bytes]]:
    """Yield the program's files: their names in the archive, and what is in them."""
    for part in PARTS:
        whole = PACKAGE / part
        for path in sorted(whole.glob("*.py")) if whole.is_dir() else [whole]:
            yield f"beowulf/{path.relative_to(PACKAGE).as_posix()}", path.read_bytes()

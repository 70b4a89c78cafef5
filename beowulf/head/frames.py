"""How client and head talk: frames of one JSON line each, with bytes behind it or none."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from beowulf.errors import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_LINE_BYTES = 64 << 20
CHUNK_BYTES = 1 << 18
BYTES = "bytes"
SIGN_OF_LIFE_S = 5.0
JOB_ID = "@JOB_ID@"  # stands in a rendered script for the ID that it has not got yet


@dataclass(frozen=True)
class Frame:
    """One message: a JSON object, and bytes that belong to it."""

    document: dict[str, Any]
    data: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Return the frame as it travels."""
        document = {**self.document, BYTES: len(self.data)} if self.data else self.document
        return json.dumps(document).encode("ascii") + b"\n" + self.data


class FrameReader:
    """Take frames off a stream of bytes.

    ``receive`` returns the next bytes, at most as many as it is asked for; none means
    that the other side has ended.
    """

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._waiting = bytearray()

    def read(self) -> Frame | None:
        """Return the next frame, or None where the stream ends between two frames.

        Raises:
            ConnectionLost: The stream ends within a frame, or it holds none.
        """
        line = self._line()
        if line is None:
            return None
        try:
            document = json.loads(line)
            size = int(document.pop(BYTES, 0))
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise ConnectionLost(
                f"the other side said something else than beowulf would: {line[:80]!r}"
            ) from None
        return Frame(document, self._exactly(size))

    def _line(self) -> bytes | None:
        searched = 0
        while (end := self._waiting.find(b"\n", searched)) < 0:
            searched = len(self._waiting)
            if searched > MOST_LINE_BYTES:
                raise ConnectionLost("the other side sent a line without an end")
            if not self._more():
                if self._waiting.strip():
                    raise ConnectionLost(
                        f"the other side ended within {bytes(self._waiting[:80])!r}"
                    )
                return None
        line = bytes(self._waiting[:end])
        del self._waiting[: end + 1]
        return line

    def _exactly(self, size: int) -> bytes:
        while len(self._waiting) < size:
            if not self._more():
                raise ConnectionLost("the other side ended within a frame")
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        return data

    def _more(self) -> bool:
        new = self._receive(CHUNK_BYTES)
        self._waiting += new
        return bool(new)


@dataclass(frozen=True)
class Peer:
    """The client, as the head's program sees it: frames in, frames out."""

    reader: FrameReader
    output: BinaryIO
    _telling: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def tell(self, data: bytes = b"", **document: Any) -> None:
        """Send a frame."""
        with self._telling:
            self.output.write(Frame(document, data).encode())
            self.output.flush()

    @contextlib.contextmanager
    def showing_life(self, every_s: float = SIGN_OF_LIFE_S) -> Iterator[None]:
        """Tell the client every few seconds that its request is worked on.

        Else it could not know a slow wire, a slow disk or a slow Slurm from a head that is gone.
        """
        ended = threading.Event()

        def tell() -> None:
            with contextlib.suppress(OSError, ValueError):  # whoever works on finds out as well
                while not ended.wait(every_s):
                    self.tell(waiting=True)

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(every_s)

    def hear(self) -> Frame:
        """Return the client's next frame.

        Raises:
            ConnectionLost: The client has gone.
        """
        frame = self.reader.read()
        if frame is None:
            raise ConnectionLost("the client has gone")
        return frame

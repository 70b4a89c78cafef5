"""Show what jobs say without letting it command the terminal that it is shown on."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from beowulf.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

MOST_CHARACTERS = 500
KEPT = re.compile(r"(\x1b\[[0-9;:]{0,40}m|[\n\t\r])")  # colours, and what a progress bar needs
BEGUN = re.compile(r"\x1b(?:\[[0-9;:]{0,40})?\Z")


class Harmless:
    """Turn the bytes of a log, as they come, into text that does nothing but be read.

    Colours stay. Whatever else a terminal would obey, to move about, to change its title or
    to answer as if somebody typed, is spelled out.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._begun = ""

    def __call__(self, data: bytes) -> str:
        """Return what can be shown of ``data`` and of what was held back; nothing ends it all."""
        text = self._begun + self._decoder.decode(data, final=not data)
        cut = BEGUN.search(text) if data else None
        self._begun = cut[0] if cut else ""
        text = text.removesuffix(self._begun)
        parts = KEPT.split(text)
        return "".join(part if at % 2 else one_line(part) for at, part in enumerate(parts))


def line(text: str) -> str:
    """Return a text as one line that does nothing but be read, cut where a person stops reading."""
    shown = one_line(text[: MOST_CHARACTERS + 1])
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}..."


def log_writer(stream: TextIO) -> Callable[[bytes], None]:
    """Return a function that prints a log: byte for byte, but to a terminal what is harmless.

    Call it once more with nothing at the end.
    """
    harmless = Harmless() if stream.isatty() else None

    def write(data: bytes) -> None:
        stream.buffer.write(harmless(data).encode() if harmless else data)
        stream.buffer.flush()

    return write

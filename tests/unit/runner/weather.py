"""A cluster whose head is this computer, and a connection to it that a test can cut.

The head's program is the real one. Slurm alone is not there: scripts stand in for its commands.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from beowulf.errors import ConnectionLost
from beowulf.runner import head_program, reconnecting
from beowulf.runner.slurm import SlurmBackend
from beowulf.transport.local import LocalConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.transport.connection import Conversation
    from beowulf.transport.local import Finished
    from tests.unit.head.conftest import FakeSlurm


class Weather:
    """A connection to this computer that is lost when a test says so."""

    name = "ada@head"

    def __init__(self) -> None:
        self.inner = LocalConnection()
        self.cuts: list[int] = []
        """After how many bytes each of the next conversations is cut; none left: never."""
        self.begun = 0
        """How many conversations there were: each is a round trip or more."""

    def converse(self, arguments: Sequence[str]) -> Conversation:
        self.begun += 1
        inner = self.inner.converse(arguments)
        return Cut(inner, self.cuts.pop(0)) if self.cuts else inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Cut:
    """A conversation that is cut off after so many bytes came."""

    def __init__(self, inner: Conversation, after: int) -> None:
        self.inner = inner
        self.left = after
        self.is_cut = False

    def receive(self, most: int = 65_536, timeout_s: float | None = None) -> bytes:
        if self.left <= 0:
            self.inner.close()
            self.is_cut = True
            raise ConnectionLost("ada@head: cut by the test")
        data = self.inner.receive(min(most, self.left), timeout_s)
        self.left -= len(data)
        return data

    def finish(self, timeout_s: float = 10) -> Finished:
        if self.is_cut:
            raise ConnectionLost("ada@head: cut by the test")
        return self.inner.finish(timeout_s)

    def __enter__(self) -> Cut:  # noqa: PYI034 - Self says no more
        return self

    def __exit__(self, *exception: object) -> None:
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture
def weather(monkeypatch: pytest.MonkeyPatch) -> Weather:
    monkeypatch.setattr(reconnecting, "TRY_AGAIN_S", 0.01)
    # The head's own Python, which in a test is the one that runs the tests.
    start = head_program.START.replace("/usr/bin/python3", sys.executable)
    monkeypatch.setattr(head_program, "START", start)
    return Weather()


@pytest.fixture
def backend(weather: Weather, home: Path, slurm: FakeSlurm) -> SlurmBackend:
    del home, slurm
    return SlurmBackend("lab", weather)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text("print('hello')\n")
    (work / "data.bin").write_bytes(b"x" * 3_000_000)
    (work / "link").symlink_to("train.py")
    return work

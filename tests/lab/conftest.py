"""The lab that these tests share: made once, and put back as it was after each test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from beowulf.lab.directory import lab_names
from beowulf.lab.host import lacking
from tests.lab.room import Room

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
FRESH = "fresh"
PREFIX = "test-"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what can't run here, saying why; where everything must run, leave out nothing."""
    sentence = lacking().sentence()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.timeout(1200))  # the first may have to build the image
            if sentence and not os.environ.get("CI"):
                item.add_marker(pytest.mark.skip(reason=sentence))


def destroy_abandoned() -> None:
    """Remove the labs of test runs that were killed: their names have the run's process."""
    for name in lab_names():
        owner = name.removeprefix(PREFIX).split("-")[0]
        if name.startswith(PREFIX) and owner.isdecimal() and not psutil.pid_exists(int(owner)):
            Room(name)("destroy")


@pytest.fixture(scope="session")
def shared_room() -> Iterator[Room]:
    """The session's lab of four prepared nodes, with a snapshot of how it was at first."""
    destroy_abandoned()
    room = Room(f"{PREFIX}{os.getpid()}")
    try:
        room("up", "--image", "prepared")
        room("snapshot", "save", FRESH)
        yield room
    finally:
        room("destroy")


class Touched:
    """Whether a test may have changed the shared lab since it was last fresh."""

    def __init__(self) -> None:
        self.yes = False


@pytest.fixture(scope="session")
def touched() -> Touched:
    return Touched()


@pytest.fixture
def lab(shared_room: Room, touched: Touched) -> Room:
    """The lab as it was at first. The test may do to it what it likes."""
    if touched.yes:
        shared_room("snapshot", "restore", FRESH)
    touched.yes = True
    return shared_room


@pytest.fixture
def untouched_lab(shared_room: Room, touched: Touched) -> Room:
    """The lab as it was at first, for a test that only looks: it saves the next one the wait."""
    if touched.yes:
        shared_room("snapshot", "restore", FRESH)
        touched.yes = False
    return shared_room


@pytest.fixture
def own_room(request: pytest.FixtureRequest) -> Iterator[Room]:
    """A lab for one test alone, not yet made. Whatever is left of it fails the test."""
    destroy_abandoned()
    room = Room(f"{PREFIX}{os.getpid()}-own")
    yield room
    room("destroy")
    assert room.leftovers() == []

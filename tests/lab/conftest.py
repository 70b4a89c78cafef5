"""The lab that these tests share: made once, and put back as it was after each test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from beowulf.lab.directory import lab_names
from beowulf.lab.host import lacking
from tests.lab.cluster import Cluster, Play
from tests.lab.room import NODES, Room

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
FRESH = "fresh"
BUILT = "built"
LOOKED_AT = ("head", "node1")  # one of each kind: what it takes for the others is the same
PREFIX = "test-"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what can't run here, saying why; where everything must run, leave out nothing."""
    sentence = lacking().sentence()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.timeout(2400))  # the first builds the image, or a cluster
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


class Standing:
    """Which snapshot the shared lab is as, if a test may not have changed it since."""

    def __init__(self) -> None:
        self.snapshot: str | None = FRESH


@pytest.fixture(scope="session")
def standing() -> Standing:
    return Standing()


@pytest.fixture
def untouched_lab(shared_room: Room, standing: Standing) -> Room:
    """The lab as it was at first, for a test that only looks: it saves the next one the wait."""
    if standing.snapshot != FRESH:
        shared_room("snapshot", "restore", FRESH)
        standing.snapshot = FRESH
    return shared_room


@pytest.fixture
def lab(untouched_lab: Room, standing: Standing) -> Room:
    """The lab as it was at first. The test may do to it what it likes."""
    standing.snapshot = None
    return untouched_lab


@dataclass(frozen=True)
class Built:
    """How the session's cluster came to be."""

    cluster: Cluster
    check: Play
    first: Play
    second: Play
    check_again: Play


@pytest.fixture(scope="session")
def built(shared_room: Room, standing: Standing) -> Built:
    """The cluster that site.yml makes of the prepared nodes, saved as a snapshot."""
    if standing.snapshot != FRESH:
        shared_room("snapshot", "restore", FRESH)
    standing.snapshot = None
    cluster = Cluster(shared_room)
    built = Built(
        cluster,
        check=cluster.try_to_play("site", "--check", "--diff", "--limit", ",".join(LOOKED_AT)),
        first=cluster.play("site"),
        second=cluster.play("site"),
        check_again=cluster.try_to_play(
            "site", "--check", "--diff", "--limit", ",".join(LOOKED_AT)
        ),
    )
    for node in NODES:
        shared_room.on(node, "sync")
    shared_room("snapshot", "save", BUILT)
    standing.snapshot = BUILT
    return built


@pytest.fixture
def untouched_cluster(built: Built, standing: Standing) -> Cluster:
    """The cluster as site.yml leaves it, for a test that only looks or cleans up behind it."""
    if standing.snapshot != BUILT:
        built.cluster.room("snapshot", "restore", BUILT)
        built.cluster.forget_connections()
        built.cluster.wait_until_idle()
        standing.snapshot = BUILT
    return built.cluster


@pytest.fixture
def cluster(untouched_cluster: Cluster, standing: Standing) -> Cluster:
    """The cluster as site.yml leaves it. The test may do to it what it likes."""
    standing.snapshot = None
    return untouched_cluster


@pytest.fixture
def own_room(request: pytest.FixtureRequest) -> Iterator[Room]:
    """A lab for one test alone, not yet made. Whatever is left of it fails the test."""
    destroy_abandoned()
    room = Room(f"{PREFIX}{os.getpid()}-own")
    yield room
    room("destroy")
    assert room.leftovers() == []

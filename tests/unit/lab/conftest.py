"""A lab's network for one test, which leaves nothing behind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from beowulf.lab import network, process
from beowulf.lab.lab import _processes
from tests.unit.lab.lab_host import skip_where_no_lab_can_run

NUMBERS = itertools.count(1)


@pytest.fixture
def new_lab() -> Iterator[Callable[[], str]]:
    """Return a function that names a lab of which there is none; its network is removed."""
    skip_where_no_lab_can_run()
    names: list[str] = []

    def name() -> str:
        names.append(f"unit-{os.getpid()}-{next(NUMBERS)}")
        return names[-1]

    yield name
    for lab in names:
        process.kill(_processes(network.processes_inside(lab)))
        network.remove(lab)
        assert not network.exists(lab)


@pytest.fixture
def lab(new_lab: Callable[[], str]) -> str:
    """The name of a lab of which there is none; its network is removed."""
    return new_lab()

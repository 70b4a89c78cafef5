"""A lab's network for one test, which leaves nothing behind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from beowulf.lab import network, process
from beowulf.lab.lab import _processes

NUMBERS = itertools.count(1)


@pytest.fixture
def new_lab() -> Iterator[Callable[[], str]]:
    """Return a function that names a lab of which there is none; its network is removed."""
    if os.geteuid() != 0:
        pytest.skip("only root may make networks")
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

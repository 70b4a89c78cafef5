"""Example jobs for the tests here: run once where once is enough, at chosen moments."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from tests.conftest import Beowulf
from tests.mpi.example_jobs import assert_every_step_once, run

Reference = Callable[..., list[float]]
STEPS = 200


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chance that can be repeated: pytest prints the seed of a test that fails."""
    seed = os.environ.get("TEST_SEED", "0")
    print(f"TEST_SEED={seed} repeats this test's choices")
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="session")
def known_losses() -> dict[tuple[str, ...], list[float]]:
    """The losses of jobs that ran on one rank before."""
    return {}


@pytest.fixture
def losses_on_one_rank(
    beowulf: Beowulf, known_losses: dict[tuple[str, ...], list[float]]
) -> Reference:
    """Return a function that gives the losses of a job's first steps on one rank."""

    def reference(*job: str) -> list[float]:
        if job not in known_losses:
            alone = run(beowulf, *job, "--steps", str(STEPS), ranks=1)
            assert_every_step_once(alone, STEPS)
            known_losses[job] = alone.losses
        return known_losses[job]

    return reference

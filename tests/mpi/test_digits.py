"""The digits give the same losses however they are split, and are read rightly."""

from __future__ import annotations

import random

import pytest

from tests.conftest import Beowulf
from tests.mpi.conftest import STEPS, Reference
from tests.mpi.example_jobs import (
    assert_every_step_once,
    assert_is_a_picture,
    assert_losses_agree,
    run,
    run_with_a_cancel,
)

TOLERANCE = 1e-6  # in float64
# An epoch is 12 steps here, and its last batch has 58 samples.
JOB = ("digits", "--copies", "2", "--global-batch", "256", "--seed", "3")


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_losses_are_the_same_on_any_number_of_ranks(
    beowulf: Beowulf, losses_on_one_rank: Reference, ranks: int
) -> None:
    job = run(beowulf, *JOB, "--steps", str(STEPS), ranks=ranks)
    assert_every_step_once(job, STEPS)
    assert {line["world_size"] for line in job.metrics} == {ranks}
    assert_losses_agree(job.losses, losses_on_one_rank(*JOB), relative=TOLERANCE)


def test_losses_are_the_same_with_unequal_shares(
    beowulf: Beowulf, losses_on_one_rank: Reference
) -> None:
    job = run(beowulf, *JOB, "--steps", str(STEPS), "--shares", "5:2:1:0", ranks=4)
    assert_every_step_once(job, STEPS)
    assert {tuple(line["shares"]) for line in job.metrics} == {(160, 64, 32, 0), (36, 15, 7, 0)}
    assert_losses_agree(job.losses, losses_on_one_rank(*JOB), relative=TOLERANCE)


def test_losses_are_the_same_in_micro_batches(
    beowulf: Beowulf, losses_on_one_rank: Reference
) -> None:
    job = run(beowulf, *JOB, "--steps", str(STEPS), "--micro-batch", "17", ranks=2)
    assert_losses_agree(job.losses, losses_on_one_rank(*JOB), relative=TOLERANCE)


def test_another_seed_gives_other_losses(beowulf: Beowulf, losses_on_one_rank: Reference) -> None:
    """Otherwise the tests above would hold for a job that ignores its data."""
    job = run(beowulf, *JOB, "--steps", str(STEPS), "--seed", "4", ranks=1)
    pairs = zip(job.losses, losses_on_one_rank(*JOB), strict=True)
    assert all(abs(a - b) / b > TOLERANCE for a, b in pairs)


@pytest.mark.parametrize("ranks", [(2, 2), (3, 1)])
def test_losses_are_the_same_across_a_cancel(
    beowulf: Beowulf, losses_on_one_rank: Reference, chance: random.Random, ranks: tuple[int, int]
) -> None:
    options = ("--steps", str(STEPS), "--checkpoint-every", "25")
    # Some steps after a checkpoint: they are in the metrics already and are done once more.
    at_step = 25 * chance.randint(1, 3) + chance.randint(2, 12)
    job = run_with_a_cancel(beowulf, *JOB, *options, ranks=ranks, at_step=at_step)
    assert_every_step_once(job, STEPS)
    (resumed_after,) = job.resumed_after
    assert resumed_after % 25 == 0
    assert 0 < resumed_after < STEPS
    sizes = [line["world_size"] for line in job.metrics]
    assert sizes == [ranks[0]] * resumed_after + [ranks[1]] * (STEPS - resumed_after)
    assert_losses_agree(job.losses, losses_on_one_rank(*JOB), relative=TOLERANCE)


def test_the_job_as_it_stands_learns_to_read(beowulf: Beowulf) -> None:
    job = run(beowulf, "digits")
    assert_every_step_once(job, 20 * 562)  # 143,700 samples, 256 at a time, 20 times
    assert job.result["test_accuracy"] >= 0.97
    assert job.result["final_loss"] == job.losses[-1] < 0.1
    assert "test accuracy 9" in job.log
    assert_is_a_picture(job.directory.path / "loss.png")

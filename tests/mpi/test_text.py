"""The language model gives the same losses however it is split, and learns."""

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

pytest.importorskip("torch", reason="the text job needs PyTorch: pip install 'beowulf[torch]'")
pytestmark = pytest.mark.torch

TOLERANCE = 1e-4  # in float32
# The job's model made smaller, its learning rate raised to learn as much in fewer steps.
JOB = (
    "text", "--layers", "2", "--width", "48", "--context", "32", "--global-batch", "16",
    "--learning-rate", "5e-3", "--sample", "80", "--seed", "3",
)  # fmt: skip


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
    options = ("--steps", str(STEPS), "--shares", "5:2:1:0", "--micro-batch", "3")
    job = run(beowulf, *JOB, *options, ranks=4)
    assert_every_step_once(job, STEPS)
    assert {tuple(line["shares"]) for line in job.metrics} == {(10, 4, 2, 0)}
    assert_losses_agree(job.losses, losses_on_one_rank(*JOB), relative=TOLERANCE)


def test_losses_are_the_same_across_a_cancel(
    beowulf: Beowulf, losses_on_one_rank: Reference, chance: random.Random
) -> None:
    options = ("--steps", str(STEPS), "--checkpoint-every", "25")
    # Some steps after a checkpoint: they are in the metrics already and are done once more.
    at_step = 25 * chance.randint(1, 3) + chance.randint(2, 12)
    job = run_with_a_cancel(beowulf, *JOB, *options, ranks=(2, 3), at_step=at_step)
    assert_every_step_once(job, STEPS)
    (resumed_after,) = job.resumed_after
    assert 0 < resumed_after < STEPS
    sizes = [line["world_size"] for line in job.metrics]
    assert sizes == [2] * resumed_after + [3] * (STEPS - resumed_after)
    assert_losses_agree(job.losses, losses_on_one_rank(*JOB), relative=TOLERANCE)


def test_it_learns_more_than_how_frequent_each_character_is(beowulf: Beowulf) -> None:
    job = run(beowulf, *JOB, "--steps", str(STEPS), ranks=2)
    unigram = job.result["unigram_bits_per_character"]
    assert 4 < unigram < 6
    assert job.result["bits_per_character"] < unigram - 0.7
    assert f"{job.result['bits_per_character']:.3f} bits per character" in job.log
    written = (job.directory.path / "sample.txt").read_text()
    assert written.strip()
    assert written.strip() in job.log
    assert_is_a_picture(job.directory.path / "loss.png")

"""Steps are tried by turns, after those in which habits are learned."""

from __future__ import annotations

from beowulf.train.overlap import LEARNING_STEPS, TURNS, Trial


def test_steps_of_both_kinds_are_tried_by_turns_and_compared_by_their_medians() -> None:
    trial = Trial()
    kinds = []
    while not trial.is_over:
        kinds.append(trial.overlaps)
        noise = 100.0 if len(kinds) in (1, 5, 6) else 0.0  # first steps, and slow moments
        trial.note(noise + (1.0 if trial.overlaps else 2.0), early=3 if trial.overlaps else 0)
    assert kinds == [False] * LEARNING_STEPS + [True, False] * TURNS
    assert trial.medians() == (1.0, 2.0)
    assert trial.early == 3 * TURNS

"""What the metrics say of single ranks, whatever else stands in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from beowulf.job.paces import Paces, RankPace, paces_of


def line(shares: list[int], compute_s: list[float], **more: Any) -> dict[str, Any]:
    known = {"step": 1, "samples": sum(shares), "step_s": 0.3, "wire_s": 0.1}
    return known | {"shares": shares, "compute_s": compute_s} | more


def test_medians_of_the_steps_with_the_newest_shares() -> None:
    lines = [
        line([50, 50], [0.1, 0.5]),
        line([80, 20], [0.2, 0.2]),
        line([80, 20], [0.2, 0.9], step_s=0.9, wire_s=None),
        line([80, 20], [0.16, 0.2]),
        line([4, 1], [0.1, 0.1]),  # the last of an epoch
    ]
    assert paces_of(lines) == Paces(
        steps=3,
        step_s=0.3,
        wire_s=0.1,
        ranks=(
            RankPace(0, None, 80, 0.2, 80 / 0.2),
            RankPace(1, None, 20, 0.2, 20 / 0.2),
        ),
    )


def test_a_rank_without_samples_is_as_fast_as_when_it_was_asked() -> None:
    lines = [line([99, 1], [0.2, 2.0]), line([100, 0], [0.2, 0.0])]
    paces = paces_of(lines)
    assert paces is not None
    assert paces.ranks[1] == RankPace(1, None, 0, 0.0, 0.5)
    never = paces_of(lines[1:])
    assert never is not None
    assert never.ranks[1].samples_per_s is None


def test_only_lines_of_as_many_ranks_as_now_count() -> None:
    paces = paces_of([line([30, 30, 40], [0.1, 0.1, 0.1]), line([50, 50], [0.1, 0.1])])
    assert paces is not None
    assert len(paces.ranks) == 2


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"shares": [1, 1]},
        line([1, 1], [0.1]),
        line([1, -1], [0.1, 0.1]),
        line([1, 1], [0.1, -0.1]),
        line([1, 1], ["0.1", 0.1]),  # type: ignore[list-item]  # damaged on purpose
        line([1, 1], [0.1, 0.1], step_s=None),
        line([1, 1], [0.1, 0.1], samples="2"),
        line([], []),
        {"shares": 3, "compute_s": 4},
    ],
)
def test_lines_that_do_not_say_it_are_passed_over(damaged: dict[str, Any]) -> None:
    assert paces_of([damaged]) is None
    good = line([50, 50], [0.1, 0.1])
    assert paces_of([good, damaged]) == paces_of([good])


def test_paces_travel_as_json() -> None:
    paces = paces_of([line([80, 20], [0.2, 0.2])])
    assert paces is not None
    there = paces.on_hosts({1: "node7"})
    assert [rank.host for rank in there.ranks] == [None, "node7"]
    assert Paces.from_json(json.loads(json.dumps(there.to_json()))) == there

"""The statistics behind the benchmarks' figures, and who is measured when."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness import (
    Report,
    Summary,
    Table,
    alternate,
    differences,
    parse_options,
    publish,
    ratios,
    summarize,
    verdict,
)

FINITE = st.floats(min_value=-1e9, max_value=1e9)


def test_a_summary_of_known_values() -> None:
    assert summarize([5.0, 1.0, 3.0, 2.0, 4.0]) == Summary(5, 1.0, 2.0, 3.0, 4.0, 5.0)


def test_quartiles_lie_between_neighbours() -> None:
    assert summarize([1.0, 2.0]) == Summary(2, 1.0, 1.25, 1.5, 1.75, 2.0)


def test_one_value_is_its_own_distribution() -> None:
    assert summarize([7.0]) == Summary(1, 7.0, 7.0, 7.0, 7.0, 7.0)


def test_nothing_cannot_be_summed_up() -> None:
    with pytest.raises(ValueError, match="measure at least one round"):
        summarize([])


@given(st.lists(FINITE, min_size=1))
def test_a_summary_is_in_order_and_ignores_the_order_of_its_values(values: list[float]) -> None:
    found = summarize(values)
    assert found == summarize(values[::-1])
    assert (found.count, found.minimum, found.maximum) == (len(values), min(values), max(values))
    slack = 1e-6  # of interpolation between neighbours up to 1e9
    assert found.minimum - slack <= found.lower_quartile <= found.median + slack
    assert found.median - slack <= found.upper_quartile <= found.maximum + slack


def test_one_slow_moment_does_not_move_the_median_of_ratios() -> None:
    reference = [1.0, 1.0, 1.0, 1.0, 1.0]
    measured = [1.1, 1.1, 90.0, 1.1, 1.1]
    assert ratios(measured, reference).median == pytest.approx(1.1)


def test_a_slow_moment_of_the_whole_machine_cancels_out() -> None:
    reference = [1.0, 10.0, 1.0]
    measured = [2.0, 20.0, 2.0]
    assert ratios(measured, reference) == Summary(3, 2.0, 2.0, 2.0, 2.0, 2.0)


def test_differences_are_taken_round_by_round() -> None:
    assert differences([5.0, 9.0], [4.0, 6.0]) == Summary(2, 1.0, 1.5, 2.0, 2.5, 3.0)


def test_rounds_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0, 2.0], [1.0])


def test_a_summary_in_another_unit() -> None:
    assert Summary(3, 1.0, 2.0, 3.0, 4.0, 5.0).scaled(1e3) == Summary(3, 1e3, 2e3, 3e3, 4e3, 5e3)


def test_every_way_takes_its_turn_and_none_is_always_first() -> None:
    order: list[str] = []

    def way(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = alternate({"a": lambda: way("a"), "b": lambda: way("b")}, rounds=3, warm_up=1)
    assert "".join(order) == "ab" + "ba" + "ab" + "ba"
    assert found == {"a": [4.0, 5.0, 8.0], "b": [3.0, 6.0, 7.0]}


def test_a_round_of_many_turns_is_their_mean() -> None:
    values = iter([0.0, 0.0, 1.0, 2.0, 6.0])
    found = alternate({"a": lambda: next(values)}, rounds=1, turns=3, warm_up=0)
    assert found == {"a": [pytest.approx(1 / 3)]}
    assert math.isclose(next(values), 2.0)


def test_the_first_rounds_are_not_kept() -> None:
    values = iter([100.0, 1.0, 2.0])
    assert alternate({"a": lambda: next(values)}, rounds=2) == {"a": [1.0, 2.0]}


def test_a_table_is_aligned_markdown() -> None:
    table = Table(["way", "ms"], [["by hand", "1.0"], ["b", "12.25"]])
    assert table.markdown().splitlines() == [
        "| way     | ms    |",
        "| ------- | ----- |",
        "| by hand | 1.0   |",
        "| b       | 12.25 |",
    ]


def test_a_verdict_says_whether_the_target_was_met() -> None:
    assert verdict("x", 4.9, 5.0, " %") == (
        "Target: x at most 5 %. Found 4.9 %: within the target."
    )
    assert verdict("x", 5.1, 5.0, " %").endswith("Found 5.1 %: MISSES the target.")


def test_options_and_the_published_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results" / "one.json"
    options = parse_options("How long.", 9, ["--json", str(path)])
    assert (options.rounds, options.json) == (9, path)
    figure = summarize([1.0, 2.0, 3.0])
    table = Table(["way", *("median", "quartiles", "range")], [["a", *figure.cells(1)]])
    publish(Report("one", "One thing", table, "Well.", {"a": figure}), path)
    printed = capsys.readouterr().out
    assert printed.startswith("### One thing\n\n| way")
    assert "| a   | 2.0    | 1.5 to 2.5 | 1.0 to 3.0 |" in printed
    assert printed.endswith("\n\nWell.\n")
    document = json.loads(path.read_text())
    assert (document["schema"], document["benchmark"]) == (1, "one")
    assert document["figures"]["a"] == {
        "count": 3,
        "minimum": 1.0,
        "lower_quartile": 1.5,
        "median": 2.0,
        "upper_quartile": 2.5,
        "maximum": 3.0,
    }

"""What is made of the training benchmark's findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cases import CASES
from bench.training import chosen
from bench.training_report import BEGIN, END, page, put_into, steps_until_settled

UNEQUAL = "4 : 2 : 1, 2.6 MB, 100mbit"
HALVED = "the fastest node's speed halves"


def document(**cases: Any) -> dict[str, Any]:
    return {"machine": "a machine", "cases": cases}


def compared(**seconds: float) -> dict[str, Any]:
    named = {name.replace("_", " "): value for name, value in seconds.items()}
    return {
        "tcp_bytes_per_s": [12e6],
        "seconds": {name: [value] * 3 for name, value in named.items()},
        "shares": {name: [48, 24, 12] for name in named},
    }


def test_a_table_has_factors_and_the_targets_beside_them() -> None:
    found = compared(alone=0.9, DDP_equal=1.2, DDP_balanced=0.6, dense=0.5)
    text = page(document(**{UNEQUAL: found}), "the command")
    assert "a machine, with `the command`" in text
    row = next(line for line in text.splitlines() if line.startswith("| dense "))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1] == "500"
    assert cells[4:7] == ["1.80", "2.40", "1.20"]
    assert cells[-1] == "48 : 24 : 12"
    assert f"| {UNEQUAL}: dense over DDP equal" in text
    assert "MISSED" not in text
    slower = page(document(**{UNEQUAL: found | compared(
        alone=0.9, DDP_equal=1.2, DDP_balanced=0.6, dense=0.59)}), "x")  # fmt: skip
    assert slower.count("MISSED") == 2


def test_without_a_reference_there_is_no_factor() -> None:
    text = page(document(**{"equal, 1 MB, 100mbit": compared(DDP_equal=0.3)}), "x")
    row = next(line for line in text.splitlines() if line.startswith("| DDP equal"))
    assert [cell.strip() for cell in row.split("|")][5:8] == ["", "1.00", ""]


def test_auto_is_held_to_the_best_that_changes_nothing() -> None:
    found = compared(alone=0.5, dense=0.6, powersgd=0.1, auto=0.52)
    text = page(document(**{UNEQUAL: found}), "x")
    row = next(line for line in text.splitlines() if "auto over the best" in line)
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["0.95", "0.96", "met"]


def test_targets_without_what_they_compare_with_are_left_out() -> None:
    for name in (UNEQUAL, "equal, 1 MB, 100mbit", "one of four on 100mbit, 25 MB"):
        text = page(document(**{name: compared(weighted=0.5, dense=0.5)}), "x")
        assert "over DDP" not in text
        assert "over dense" not in text


def test_a_case_that_failed_says_so_and_the_others_stay() -> None:
    failed = {"failed": "exit 1: ValueError: no\nmore"}
    text = page(document(**{UNEQUAL: failed, "gone": compared(dense=1.0)}), "x")
    assert "Failed: exit 1: ValueError: no\n" in text
    assert "#### gone\n\nFailed: unknown case" in text


def test_how_soon_shares_follow_a_change() -> None:
    speeds = [2.0, 1.0, 1.0]
    old, new, near = [60, 15, 15], [45, 22, 23], [46, 22, 22]
    assert steps_until_settled([old, old, old, new, new], speeds) == 3
    assert steps_until_settled([new, new], speeds) == 0
    assert steps_until_settled([old, near, old, near], speeds) == 3
    assert steps_until_settled([new, old], speeds) is None


def test_the_change_is_shown_step_by_step() -> None:
    steps = [{"step_s": 0.2, "shares": [48, 24, 12]}] * 13
    steps += [{"step_s": 0.3, "shares": [34, 33, 17]}] * 7
    text = page(document(**{HALVED: {"halved_at": 10, "steps": steps}}), "x")
    assert "that after 3 steps." in text
    assert "| 48 : 24 : 12 |" in text
    assert "| 34 : 33 : 17 |" in text


def test_a_section_is_put_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "limit.png").touch()
    for _ in range(2):
        put_into(path, "new")
    text = path.read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n\nnew\n\n![")
    assert "(benchmarks/limit.png)" in text
    assert "halved.png" not in text
    assert text.endswith(f"{END}\n\nafter\n")
    assert "old" not in text
    path.write_text("nothing")
    with pytest.raises(ValueError, match="marks"):
        put_into(path, "new")


def test_cases_are_chosen_by_words_of_their_names() -> None:
    assert chosen([]) == list(CASES)
    assert [case.name for case in chosen(["halves"])] == [HALVED]
    with pytest.raises(ValueError, match=f"choose from.*{HALVED}"):
        chosen(["elephant"])

"""The table that ends a verification can be read by eye, and by a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
import report
from report import cell, table

if TYPE_CHECKING:
    from collections.abc import Callable


def action(arguments: dict[str, Any], played: Callable[..., Any] = MagicMock) -> Any:
    task = MagicMock(async_val=0, check_mode=False, args=arguments, action="report")
    return report.ActionModule(task, played(), MagicMock(), MagicMock(), MagicMock(), MagicMock())


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    display = MagicMock()
    display.return_value.display = lambda text, **_: lines.append(text)
    monkeypatch.setattr(report, "Display", display)
    return lines


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "✓ ok"),
        (False, "✗ fault"),
        (None, "-"),
        ("idle", "idle"),
        ("!down", "✗ down"),
        (3, "3"),
    ],
)
def test_a_cell_says_in_words_whether_it_is_fine(value: Any, text: str) -> None:
    assert cell(value) == text


def test_columns_stand_below_each_other() -> None:
    lines = table(["machine", "ssh", "job"], [["head", True, None], ["node12345", "!off", "busy"]])
    assert lines == [
        "MACHINE    SSH    JOB",
        "head       ✓ ok   -",
        "node12345  ✗ off  busy",
    ]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        table(["machine"], [["head", True]])


def test_title_table_and_remarks_are_printed_once(shown: list[str]) -> None:
    arguments = {
        "title": "What works",
        "columns": ["machine", "ssh"],
        "rows": [["node1", False]],
        "remarks": ["node1: does not answer"],
    }
    result = action(arguments).run(task_vars={})
    assert result["changed"] is False
    assert shown == ["\nWhat works\n\nMACHINE  SSH\nnode1    ✗ fault\n\nnode1: does not answer\n"]
    assert "\x1b" not in shown[0]  # no colours of its own

"""Errors become one line each, and the exit status that the documentation promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf import errors
from beowulf.errors import BeowulfError, InvalidInput, one_line


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("BeowulfError", 1), ("InvalidInput", 2), ("JobNotFound", 4), ("LaunchError", 125),
        ("TrainingError", 1), ("WorldSizeError", 1), ("CheckpointError", 1),
        ("Unreachable", 3), ("ConnectionLost", 3), ("AuthenticationFailed", 5),
        ("HostKeyMismatch", 5), ("ClusterNotFound", 4), ("CommandFailed", 1),
    ],
)  # fmt: skip
def test_exit_statuses(name: str, status: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, BeowulfError)
    assert kind.exit_status == status


def test_the_tree_in_the_documentation_is_complete() -> None:
    kinds = {
        name for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BeowulfError)
    }  # fmt: skip
    assert all(name in (errors.__doc__ or "") for name in kinds)
    assert len(kinds) >= 7


def test_a_refusal_names_field_problem_and_remedy() -> None:
    refusal = InvalidInput("name", "is odd", "choose another")
    assert str(refusal) == "name: is odd; choose another"


@given(st.text(), st.text(), st.text())
def test_a_refusal_is_one_line_whatever_it_quotes(field: str, problem: str, remedy: str) -> None:
    assert str(InvalidInput(field, problem, remedy)).isprintable()


@given(st.text())
def test_one_line_is_printable_and_leaves_the_printable_alone(text: str) -> None:
    assert one_line(text).isprintable()
    assert one_line(one_line(text)) == one_line(text)
    assert not text.isprintable() or one_line(text) == text


def test_control_characters_are_spelled_out() -> None:
    assert one_line("two\nlines\t\x1b[31m\udcff é") == "two\\nlines\\t\\x1b[31m\\udcff é"

"""A command's words reach the ranks byte for byte."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import InvalidInput
from beowulf.runner.command import argument_vector, refuse_missing_script, script_of

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.binary(max_size=20).map(lambda word: word.replace(b"\0", b"0")), min_size=1))
def test_any_words_are_written_byte_for_byte(words: list[bytes]) -> None:
    command = tuple(os.fsdecode(word) for word in words)
    assert argument_vector(command).split(b"\0")[:-1] == words


def test_empty_words_and_odd_ones_are_kept() -> None:
    command = ("python", "", "-", "--", "a b", "'\"", "$(id)", "`id`", "*", "\n", "é", "\udcff")
    assert argument_vector(command) == (
        b"python\0\0-\0--\0a b\0'\"\0$(id)\0`id`\0*\0\n\0\xc3\xa9\0\xff\0"
    )


@pytest.mark.parametrize(
    ("command", "script"),
    [
        (("python", "train.py"), "train.py"),
        (("python3", "src/train.py", "--x"), "src/train.py"),
        (("python", "./-odd.py"), "./-odd.py"),
        (("python", "-m", "package"), None),
        (("python", "-c", "pass"), None),
        (("python",), None),
        (("bash", "train.sh"), None),
    ],
)
def test_the_script_that_a_command_names(command: tuple[str, ...], script: str | None) -> None:
    assert script_of(command) == script


def test_a_script_that_did_not_come_along_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "package").mkdir()

    def came_along(path: str) -> bool:
        return (tmp_path / path).is_file()

    refuse_missing_script(("python", "train.py"), came_along)
    refuse_missing_script(("python", "-m", "package"), came_along)
    refuse_missing_script(("./anything", "missing.py"), came_along)
    for script in ("missing.py", "package", "train.py/x"):
        with pytest.raises(InvalidInput, match=r"^command: .* \.gitignore"):
            refuse_missing_script(("python", script), came_along)

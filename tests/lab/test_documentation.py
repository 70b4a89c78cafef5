"""The commands in the lab's page do what it says, typed into one shell from top to bottom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.docs.markdown import blocks
from tests.docs.session import SUBSTITUTES, check, play
from tests.lab.room import Room

PAGE = REPOSITORY / "docs" / "lab.md"


def test_the_page_s_commands_do_what_it_shows(own_room: Room, tmp_path: Path) -> None:
    answers = play(
        blocks(PAGE.read_text(encoding="utf-8")),
        REPOSITORY,
        tmp_path,
        substitutes=[s for s in SUBSTITUTES if s.command != "make lab"],
        variables={"BEOWULF_LAB": own_room.name},
    )
    # The reader's lab is the one that commands mean without its name.
    option = f" --lab {own_room.name}"
    check([replace(answer, output=answer.output.replace(option, "")) for answer in answers])
    assert own_room.leftovers() == []

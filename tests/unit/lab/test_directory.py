"""Where a lab's files are, and the names and paths that can hold no lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from beowulf.errors import InvalidInput
from beowulf.lab.directory import (
    LONGEST_SOCKET,
    LabDirectory,
    cache_directory,
    check_name,
    check_room,
    lab_directory,
    lab_names,
    state_directory,
)
from tests.unit.conftest import short

VARIABLES = {"BEOWULF_LAB_STATE_DIR": state_directory, "BEOWULF_LAB_CACHE_DIR": cache_directory}


def test_labs_and_images_are_where_the_system_keeps_such_things(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert lab_directory("lab").path == Path("/var/lib/beowulf/labs/lab")
    assert cache_directory() == Path("/var/cache/beowulf")
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")
    assert (state_directory(), cache_directory()) == (
        Path("/var/lib/beowulf"), Path("/var/cache/beowulf")
    )  # fmt: skip


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("path", ["/srv/labs", "/srv/Jürgens_labs-2.0/a+b=c@d"])
def test_other_places(variable: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, path)
    assert VARIABLES[variable]() == Path(path)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    "path",
    ["labs", "./labs", "~/labs", "/my labs", "/a,b", "/a:b", "/a\nb", "/a\tb", '/a"b', "/a'b",
     "/100%h", "/$HOME/x", "/a\\b", "/a#b", "/a*b", "/\u00a0"],
)  # fmt: skip
def test_what_the_kernel_or_ssh_would_read_otherwise_is_refused(
    variable: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, path)
    with pytest.raises(InvalidInput, match=f"^{variable}: .* cannot hold a lab; name an absolute"):
        VARIABLES[variable]()


@pytest.mark.parametrize("name", ["lab", "a", "7", "big-lab-2", "x" * 31])
def test_names(name: str) -> None:
    check_name("--lab", name)


@pytest.mark.parametrize(
    "name",
    ["", "-rf", "Lab", "a b", "../x", "a/b", ".hidden", "a.b", "a_b", "x" * 32, "é", "a\n", "$(id)",
     "x" * 10_000],
    ids=short,
)  # fmt: skip
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^--lab: .* is no name; use up to 31 small letters"):
        lab_directory(name)


def test_a_path_that_is_too_long_for_a_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEOWULF_LAB_STATE_DIR", "/" + "x" * 90)
    with pytest.raises(InvalidInput, match=r"is too long a path .*; choose a shorter name"):
        lab_directory("lab")


def test_a_node_s_name_counts_in_bytes() -> None:
    directory = LabDirectory(Path("/srv/é/labs/lab"))
    rest = LONGEST_SOCKET - len("/srv/éé/labs/lab/run//mconsole")
    check_room(directory, ["node1", "n" * rest])
    with pytest.raises(InvalidInput, match=f"^--lab: .* for a node named {'n' * (rest + 1)};"):
        check_room(directory, ["node1", "n" * (rest + 1)])


def test_the_usual_directory_has_room_for_the_longest_host_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BEOWULF_LAB_STATE_DIR", raising=False)
    check_room(lab_directory("lab"), ["n" * 63])


def test_the_labs_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEOWULF_LAB_STATE_DIR", str(tmp_path))
    assert lab_names() == []
    for name in ("labs/two", "labs/one", "labs/Not one"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "labs" / ".one.lock").touch()
    (tmp_path / "labs" / "file").touch()
    assert lab_names() == ["one", "two"]


def test_the_lock_outlives_the_lab() -> None:
    directory = LabDirectory(Path("/srv/labs/one"))
    assert directory.lock.parent == directory.path.parent
    assert not directory.lock.is_relative_to(directory.path)


def test_no_two_files_have_one_name() -> None:
    directory = LabDirectory(Path("/srv/labs/one"))
    node = directory.node("node1")
    paths = [
        getattr(owner, name)
        for owner in (directory, node)
        for name, value in vars(type(owner)).items()
        if isinstance(value, property) and name != "name"
    ]
    assert len(paths) > 12
    assert len(set(paths)) == len(paths)
    assert directory.management_console("node1") == Path("/srv/labs/one/run/node1/mconsole")

"""A lab remembers what it is, and what is not its memory is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import LabError, LabNotFound
from beowulf.lab.directory import LabDirectory
from beowulf.lab.settings import Settings, read_settings, write_settings
from tests.unit.lab.plans import NODE1, NODE2, PLAN

SETTINGS = Settings(PLAN, "bare", Path("/srv/images/bare"), Path("/srv/inventory"))


@pytest.fixture
def directory(tmp_path: Path) -> LabDirectory:
    (tmp_path / "mine").mkdir(exist_ok=True)
    return LabDirectory(tmp_path / "mine")


def test_it_is_read_as_it_was_written(directory: LabDirectory) -> None:
    write_settings(directory, SETTINGS)
    assert read_settings(directory) == SETTINGS
    assert directory.settings.stat().st_mode & 0o777 == 0o644


def test_no_lab(directory: LabDirectory) -> None:
    with pytest.raises(
        LabNotFound, match=r"^there is no lab mine; to make it: beowulf lab up --lab mine$"
    ):
        read_settings(directory)


DAMAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["subnet", "machines", "name", "plan"]), inner)
    ),
    max_leaves=4,
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every part of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [here]
    if isinstance(value, dict | list):
        for key, item in inner:
            found += places(item, (*here, key)) if isinstance(item, dict | list) else [(*here, key)]
    return found


@given(st.data())
def test_damage_anywhere_is_refused_or_harmless(directory: LabDirectory, data: Any) -> None:
    write_settings(directory, SETTINGS)
    value: Any = [json.loads(directory.settings.read_text())]
    place = data.draw(st.sampled_from(places(value)[1:]))
    part = value
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = data.draw(DAMAGE)
    directory.settings.write_text(json.dumps(value[0]))
    try:
        plan = read_settings(directory).plan
    except LabError as error:
        said = str(error)
    else:
        said = f"mine {plan.gateway} {[plan.port(machine) for machine in plan.machines]}"
    assert "mine" in said


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", '{"schema": 1}', "\xff"])
def test_what_is_no_memory_of_a_lab(directory: LabDirectory, text: str) -> None:
    directory.settings.write_bytes(text.encode("latin-1"))
    with pytest.raises(LabError, match=r"lab\.json: not a lab of this version; run: beowulf lab d"):
        read_settings(directory)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema(directory: LabDirectory, schema: object) -> None:
    write_settings(directory, SETTINGS)
    value = json.loads(directory.settings.read_text())
    directory.settings.write_text(json.dumps({**value, "schema": schema}))
    with pytest.raises(LabError, match=r"run: beowulf lab destroy --lab mine$"):
        read_settings(directory)


def test_the_machines_that_are_named() -> None:
    assert SETTINGS.chosen([]) == (NODE1, NODE2)
    assert SETTINGS.chosen(["node2"]) == (NODE2,)
    assert SETTINGS.chosen(["node2", "node1", "node2"]) == (NODE1, NODE2)
    with pytest.raises(LabNotFound, match=r"^the lab has no node node3; it has: node1, node2$"):
        SETTINGS.chosen(["node1", "node3"])

"""Roles, groups and documentation agree with each other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from beowulf.lab.image.recipe import HERE as IMAGE
from beowulf.lab.image.recipe import listed
from tests.conftest import REPOSITORY

PLAYBOOKS = REPOSITORY / "playbooks"
ROLES = sorted(path.name for path in (PLAYBOOKS / "roles").iterdir() if path.is_dir())
PREFIXES = (*ROLES, "cluster", "measured")
REAL_TYPES = {"str": str, "int": int, "bool": bool, "list": list, "dict": dict, "float": float}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def groups(inventory: str) -> dict[str, Any]:
    found: dict[str, Any] = read(REPOSITORY / "inventory" / inventory / "groups.yml")["all"]
    children: dict[str, Any] = found["children"]
    return children


def defaults(role: str) -> dict[str, Any]:
    path = PLAYBOOKS / "roles" / role / "defaults" / "main.yml"
    found: dict[str, Any] = (read(path) or {}) if path.exists() else {}
    return found


def options(role: str) -> dict[str, Any]:
    path = PLAYBOOKS / "roles" / role / "meta" / "argument_specs.yml"
    found: dict[str, Any] = read(path)["argument_specs"]["main"].get("options", {})
    return found


def plays() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(PLAYBOOKS / "site.yml")
    return found


def test_each_role_is_a_group_and_each_group_a_role() -> None:
    assert set(groups("example")) - {"cluster", "heads", "nodes"} == set(ROLES)


def test_the_labs_groups_are_the_examples() -> None:
    assert groups("lab") == groups("example")


def test_every_group_is_explained() -> None:
    text = (REPOSITORY / "inventory/example/groups.yml").read_text()
    for name in groups("example"):
        assert re.search(rf"^    # .+\n    {name}:$", text, re.MULTILINE), name


def test_site_names_roles_and_nothing_else() -> None:
    lines = (PLAYBOOKS / "site.yml").read_text().splitlines()
    assert len(lines) < 40
    for play in plays():
        if "roles" in play:
            assert play["roles"] == [play["hosts"]], play["name"]
            assert set(play) == {"name", "hosts", "become", "roles"}
        else:
            assert set(play) == {"name", "import_playbook"}


def test_a_node_that_is_added_gets_every_role_that_site_gives_to_nodes() -> None:
    text = (PLAYBOOKS / "add_node.yml").read_text() + (PLAYBOOKS / "members.yml").read_text()
    of_nodes = [
        name
        for name, group in groups("example").items()
        if group and {"cluster", "nodes"} & set(group.get("children", {}))
    ]
    in_site = {play["hosts"] for play in plays() if "hosts" in play}
    missing = [role for role in of_nodes if role in in_site and role not in text]
    assert missing == []


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_options_are_its_defaults(role: str) -> None:
    assert {name: option.get("default") for name, option in options(role).items()} == defaults(role)


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_options_are_described_and_typed(role: str) -> None:
    for name, option in options(role).items():
        assert option.get("description"), name
        assert name.startswith(f"{role}_"), name
        value = defaults(role)[name]
        if value is not None and not (isinstance(value, str) and "{{" in value):
            assert isinstance(value, REAL_TYPES.get(option["type"], str)), name


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_what_it_does(role: str) -> None:
    text = (PLAYBOOKS / "roles" / role / "README.md").read_text()
    assert text.startswith(f"# {role}\n")
    assert len(text.split()) > 40


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_readme_names_its_options(role: str) -> None:
    text = (PLAYBOOKS / "roles" / role / "README.md").read_text()
    names = [name for name in options(role) if not name.endswith(("_packages", "_ports"))]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_sets_variables_of_its_own_name_only(role: str) -> None:
    for path in (PLAYBOOKS / "roles" / role).rglob("*.yml"):
        text = path.read_text()
        names = re.findall(r"^\s+register: (\w+)", text, re.MULTILINE)
        names += re.findall(r"^\s+loop_var: (\w+)", text, re.MULTILINE)
        wrong = [name for name in names if not name.startswith(role)]
        assert wrong == [], path


def test_how_long_playbooks_wait_is_said_once_and_in_the_documentation() -> None:
    waits = read(PLAYBOOKS / "group_vars" / "all.yml")["cluster_waits"]
    named = {
        str(value): re.findall(r"(\w+) \| default\((\d+)\)", value) for value in waits.values()
    }
    table = (REPOSITORY / "docs" / "operations.md").read_text()
    for ((name, seconds),) in named.values():
        assert re.search(rf"^\| `{name}` \| .+ \| {seconds} \|$", table, re.MULTILINE), name
        others = [path for path in PLAYBOOKS.rglob("*.yml") if f"{name} |" in path.read_text()]
        assert [path.name for path in others] == ["all.yml"], name


def test_the_prepared_image_has_what_the_roles_install() -> None:
    image = {
        name
        for kind in ("bare", "prepared")
        for name in listed((IMAGE / f"{kind}.txt").read_text())
    }
    wanted = {name for role in ROLES for name in defaults(role).get(f"{role}_packages", [])}
    assert wanted - image == set()
    prepared = set(listed((IMAGE / "prepared.txt").read_text()))
    assert prepared - wanted == {"iptables"}  # User-Mode Linux has no nftables


def test_no_role_waits_by_the_clock_or_turns_checks_off() -> None:
    for path in PLAYBOOKS.rglob("*.yml"):
        text = path.read_text()
        for bad in ("ignore_errors: true", "wait_for:\n    timeout", "pause:\n    seconds"):
            assert bad not in text, path


def test_no_secret_is_in_the_repository() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "playbooks", "inventory"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert tracked
    for name in tracked:
        text = (REPOSITORY / name).read_text()
        assert "PRIVATE KEY" not in text, name
        assert not re.search(r"(password|secret|_key): *['\"]?[A-Za-z0-9+/]{8,}", text), name

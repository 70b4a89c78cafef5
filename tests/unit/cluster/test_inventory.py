"""An inventory means here what it means to Ansible, and what is none is refused in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.cluster.inventory import (
    ENVIRONMENT,
    inventory_command,
    parse_inventory,
    refuse_unread,
)
from beowulf.cluster.node import Cluster, Node
from beowulf.errors import InvalidInput
from beowulf.lab.lab import read_plan
from beowulf.transport.local import run
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

NESTED = """
all:
  vars: {lab_subnet: 10.1.2.0/24}
  children:
    site:
      children:
        racks:
          hosts:
            rack[01:03]: {ansible_host: 10.1.2.9}
        heads:
          hosts:
            head: {lab_memory_mb: 512}
    fast:
      hosts:
        rack02:
"""
INI = """
[nodes]
n[1:2] lab_memory_mb=512 lab_mac=02:00:00:00:00:01
[nodes:vars]
lab_subnet=10.1.2.0/24
"""


def read(path: Path, environment: dict[str, str] | None = None) -> Cluster:
    """Have the real Ansible print an inventory, as the lab does."""
    finished = run(inventory_command(path), environment={**(environment or {}), **ENVIRONMENT})
    return parse_inventory(finished.output, str(path))


def printed(**groups: Any) -> str:
    return json.dumps({"_meta": {"hostvars": {}}, **groups})


def test_nested_groups_ranges_and_variables_of_groups(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(NESTED)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "heads.yml").write_text("ansible_host: 10.1.2.3\n")
    cluster = read(tmp_path)
    assert sorted(node.name for node in cluster.nodes) == ["head", "rack01", "rack02", "rack03"]
    nodes = {node.name: node for node in cluster.nodes}
    assert set(nodes["rack02"].groups) == {"site", "racks", "fast"}
    assert set(nodes["rack01"].groups) == {"site", "racks"}
    assert nodes["head"].address == "10.1.2.3"
    assert nodes["head"].variables["lab_memory_mb"] == 512
    assert {node.variables["lab_subnet"] for node in cluster.nodes} == {"10.1.2.0/24"}
    assert [node.name for node in cluster.in_group("fast")] == ["rack02"]
    assert [node.name for node in cluster.in_group("racks")] == ["rack01", "rack02", "rack03"]
    assert cluster.in_group("nowhere") == ()


def test_an_ini_file_with_numbers_and_no_addresses(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(INI)
    first, second = read(path).nodes
    assert (first.name, first.address, first.groups) == ("n1", "n1", ("nodes",))
    assert second.variables == {
        "lab_memory_mb": 512, "lab_mac": "02:00:00:00:00:01", "lab_subnet": "10.1.2.0/24"
    }  # fmt: skip


def test_what_the_user_told_ansible_about_its_output_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("alone\n")
    told = {"ANSIBLE_VERBOSITY": "3", "ANSIBLE_DEBUG": "true", "ANSIBLE_FORCE_COLOR": "true"}
    assert [node.name for node in read(path, told).nodes] == ["alone"]


def test_the_lab_s_own_inventory_has_a_head_and_three_nodes() -> None:
    cluster = read(REPOSITORY / "inventory" / "lab")
    assert [node.name for node in cluster.in_group("heads")] == ["head"]
    assert [node.name for node in cluster.in_group("nodes")] == ["node1", "node2", "node3"]


def test_broken_yaml_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text("all:\n  hosts: [\n")
    with pytest.raises(InvalidInput, match="Ansible cannot read it: ") as refusal:
        read_plan(path)
    assert refusal.value.field == str(path)
    assert f"at {path}:" in str(refusal.value)
    assert "then look at: ansible-inventory -i " in str(refusal.value)
    assert len(str(refusal.value)) < 600


def test_one_broken_file_beside_a_good_one_is_refused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("all: {hosts: {a: }}\n")
    (tmp_path / "b.yml").write_text("all:\n  hosts: [\n")
    with pytest.raises(InvalidInput, match=r"b\.yml: Ansible cannot read it"):
        read_plan(tmp_path)


def test_an_empty_directory_is_no_inventory(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="it is no inventory; mend it, then look at: ansible-"):
        read_plan(tmp_path)


def test_warnings_of_other_things_refuse_nothing() -> None:
    refuse_unread("", "hosts")
    refuse_unread("[WARNING]: Invalid characters were found in group names\n", "hosts")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^--inventory: there is no .*; name a directory"):
        inventory_command(tmp_path / "missing")


def test_no_ansible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match=r"^ansible-inventory: .* not installed; .*pip install"):
        inventory_command(tmp_path)


def test_a_path_is_one_word_of_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a; $(id)"
    path.mkdir()
    assert inventory_command(path)[1:] == ["--inventory", str(path), "--list"]


def test_no_machine_in_it() -> None:
    with pytest.raises(InvalidInput, match=r"^hosts: it names no machine; add one under"):
        parse_inventory(printed(all={"children": ["ungrouped"]}), "hosts")


def test_a_machine_in_several_groups_is_one_machine() -> None:
    text = printed(all={"children": ["a", "b"]}, a={"hosts": ["x", "y"]}, b={"hosts": ["y", "x"]})
    cluster = parse_inventory(text, "hosts")
    assert cluster.nodes == (Node("x", "x", ("a", "b")), Node("y", "y", ("a", "b")))


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "null", "3", '"text"', "{", "[" * 100_000, '{"_meta": {}}',
        '{"_meta": {"hostvars": []}, "all": {"hosts": ["a"]}}',
        '{"_meta": {"hostvars": {"a": 3}}, "all": {"hosts": ["a"]}}',
        printed(all={"hosts": "abc"}), printed(all={"hosts": [3]}),
        printed(all={"hosts": {"a": 1}}), printed(all={"hosts": [["a"]]}), printed(all=[]),
        printed(all={"children": "all"}), printed(all={"children": ["all"]}),
        printed(all={"children": ["a"]}, a={"children": ["all"]}),
    ],
    ids=range(19),
)  # fmt: skip
def test_what_is_no_answer_of_ansible_s_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^hosts: Ansible printed no inventory; look at: "):
        parse_inventory(text, "hosts")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "b", "all"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["_meta", "hostvars", "all", "a", "b", "hosts", "children"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_document_is_a_traceback(document: Any) -> None:
    try:
        cluster = parse_inventory(json.dumps(document), "hosts")
    except InvalidInput:
        return
    assert cluster.nodes


@given(JSON, JSON, JSON)
def test_no_group_and_no_variables_are_a_traceback(group: Any, other: Any, variables: Any) -> None:
    document = {"_meta": {"hostvars": variables}, "all": group, "a": other, "b": {"hosts": ["x"]}}
    try:
        cluster = parse_inventory(json.dumps(document), "hosts")
    except InvalidInput:
        return
    assert "x" in [node.name for node in cluster.nodes]
    assert all(isinstance(node.name, str) for node in cluster.nodes)


@given(st.text())
def test_no_text_is_a_traceback(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_inventory(text, "hosts")

"""What an inventory may say of a lab's machines, and what is refused with machine and variable."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.cluster.node import Cluster
from beowulf.errors import InvalidInput
from beowulf.lab.machine import HOST_NAME, Machine, Plan, plan_of
from tests.unit.conftest import short
from tests.unit.lab.plans import NODE1, NODE2, PLAN, node


def refusal_of(*nodes: Any) -> str:
    with pytest.raises(InvalidInput) as refusal:
        plan_of(Cluster(nodes))
    assert str(refusal.value).isprintable()
    assert str(refusal.value).count("; ") == 1
    return str(refusal.value)


def test_a_plan_has_what_the_inventory_says() -> None:
    nodes = (node(), node("node2", "10.77.0.12", lab_memory_mb=256, lab_mac="02:BE:0F:77:00:12"))
    assert plan_of(Cluster(nodes)) == PLAN


def test_the_switch_has_the_first_address() -> None:
    assert (PLAN.gateway, PLAN.prefix, PLAN.netmask) == ("10.77.0.1", 24, "255.255.255.0")


def test_a_port_is_the_address_within_the_subnet() -> None:
    plan = Plan("10.0.0.0/16", (Machine("far", "10.0.255.254", "02:00:00:00:00:01", 512),))
    assert plan.port(plan.machines[0]) == 65_534
    assert [PLAN.port(machine) for machine in PLAN.machines] == [11, 12]


@pytest.mark.parametrize("name", ["a", "7", "node-1", "x" * 63])
def test_host_names(name: str) -> None:
    assert plan_of(Cluster((node(name),))).machines[0].name == name


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", "a.b", "x" * 64, "a b", "é", "a\n", "$(id)", "../x", "%h"]
)
def test_what_is_no_host_name_is_refused(name: str) -> None:
    assert "this is no host name; use small letters, digits and dashes" in refusal_of(node(name))


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("node1", "'node1' is no IPv4 address"),
        ("", "'' is no IPv4 address"),
        ("fe80::1", "'fe80::1' is no IPv4 address"),
        ("10.77.0.011", "is no IPv4 address"),
        ("10.77.0.0", "10.77.0.0 is no host of 10.77.0.0/24"),
        ("10.77.0.255", "10.77.0.255 is no host of 10.77.0.0/24"),
        ("10.78.0.11", "10.78.0.11 is no host of 10.77.0.0/24"),
        ("10.77.0.1", "10.77.0.1 is the lab's switch"),
    ],
)
def test_what_is_no_address_in_the_subnet_is_refused(address: str, cause: str) -> None:
    said = refusal_of(node(address=address, lab_mac="02:00:00:00:00:01"))
    assert said.startswith("node1.ansible_host: ")
    assert cause in said


@pytest.mark.parametrize(
    "mac",
    [
        None, "", 123, 36_000_000, "02:be:0f:77:00", "02:be:0f:77:00:111", "02-be-0f-77-00-11",
        "00:1a:2b:3c:4d:5e", "03:be:0f:77:00:11", "ff:ff:ff:ff:ff:ff", "0g:be:0f:77:00:11",
        "02:be:0f:77:00:11\n", "02:be:0f:77:00:11,depth=1",
    ],
)  # fmt: skip
def test_what_is_no_local_address_of_one_card_is_refused(mac: object) -> None:
    said = refusal_of(node(lab_mac=mac))
    assert said.startswith("node1.lab_mac: ")
    assert said.endswith("; write one that begins with 02, in quotes")


@pytest.mark.parametrize(
    "memory",
    [None, True, False, "512", "1G", 0, -1, 255, 65_537, 512.0, 10**30, [], {}],
    ids=short,
)
def test_what_is_no_memory_is_refused(memory: object) -> None:
    said = refusal_of(node(lab_memory_mb=memory))
    assert said.startswith("node1.lab_memory_mb: ")
    assert said.endswith("is no memory size; write a whole number from 256 to 65536")
    assert len(said) < 200


@pytest.mark.parametrize("memory_mb", [256, 65_536])
def test_the_least_and_the_most_memory(memory_mb: int) -> None:
    assert plan_of(Cluster((node(lab_memory_mb=memory_mb),))).machines[0].memory_mb == memory_mb


@pytest.mark.parametrize(
    "subnet",
    [
        None, "", "10.77.0.0", "10.77.0.5/24", "10.0.0.0/8", "10.77.0.0/30", "8.8.8.0/24",
        "127.0.0.0/24", "169.254.7.0/24", "0.0.0.0/16", "224.0.0.0/24", "100.64.0.0/24",
        "172.32.0.0/16", "fd00::/64", 10, True, ["10.77.0.0/24"], "10.77.0.0/24\n",
    ],
)  # fmt: skip
def test_what_is_no_private_subnet_is_refused(subnet: object) -> None:
    said = refusal_of(node(lab_subnet=subnet))
    assert said.startswith("lab_subnet: ")
    assert said.endswith("; state it once for all machines, as 10.77.0.0/24 in group_vars/all.yml")


@pytest.mark.parametrize("subnet", ["10.77.0.0/24", "172.31.255.0/29", "192.168.0.0/16"])
def test_private_subnets(subnet: str) -> None:
    address = str(ipaddress.IPv4Network(subnet)[3])
    machine = node(address=address, lab_subnet=subnet, lab_mac="02:00:00:00:00:01")
    assert plan_of(Cluster((machine,))).subnet == subnet


def test_a_subnet_that_is_stated_twice_is_refused() -> None:
    said = refusal_of(node(), node("node2", "10.77.0.12", lab_subnet="10.78.0.0/24"))
    assert "machines differ: 10.77.0.0/24, 10.78.0.0/24; state it once" in said


def test_a_subnet_that_only_some_machines_have_is_refused() -> None:
    said = refusal_of(node(), node("node2", "10.77.0.12", lab_subnet=None))
    assert "machines differ: none, 10.77.0.0/24; state it once" in said


def test_an_address_that_two_have_is_refused() -> None:
    said = refusal_of(node(), node("node2", lab_mac="02:00:00:00:00:02"))
    assert said == ("node2.ansible_host: node1 has 10.77.0.11 too; give each machine its own")


def test_a_card_that_two_have_is_refused_however_it_is_written() -> None:
    said = refusal_of(node(), node("node2", "10.77.0.12", lab_mac="02:BE:0F:77:00:11"))
    assert said == ("node2.lab_mac: node1 has 02:be:0f:77:00:11 too; give each machine its own")


MACHINES = st.lists(
    st.builds(
        node,
        st.from_regex(HOST_NAME, fullmatch=True),
        st.integers(2, 65_533).map(lambda n: str(ipaddress.IPv4Address("10.7.0.0") + n)),
        lab_subnet=st.just("10.7.0.0/16"),
        lab_mac=st.integers(0, 2**40 - 1).map(lambda n: "02:" + n.to_bytes(5, "big").hex(":")),
        lab_memory_mb=st.integers(256, 65_536),
    ),
    min_size=1,
    unique_by=(lambda n: n.name, lambda n: n.address, lambda n: n.variables["lab_mac"]),
)


@given(MACHINES)
def test_every_right_plan_is_read_back_as_it_was_written(nodes: list[Any]) -> None:
    plan = plan_of(Cluster(tuple(nodes)))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert [machine.name for machine in plan.machines] == [node.name for node in nodes]


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
))  # fmt: skip
@pytest.mark.parametrize("variable", ["lab_subnet", "lab_mac", "lab_memory_mb"])
def test_no_value_of_a_variable_is_a_traceback(variable: str, value: Any) -> None:
    try:
        plan = plan_of(Cluster((node(**{variable: value}),)))
    except InvalidInput as refusal:
        said = str(refusal)
    else:
        said = f"node1.{variable} lab_subnet {plan}"
    assert said.isprintable()
    assert f"node1.{variable}" in said or "lab_subnet" in said


@pytest.mark.parametrize(
    "change",
    [
        {"subnet": 5}, {"subnet": "x"}, {"subnet": []}, {"subnet": None}, {"machines": None},
        {"machines": [3]}, {"machines": [{}]}, {"machines": [{"name": "a"}]}, {"more": 1},
        {"machines": [{**PLAN.to_json()["machines"][0], "memory_mb": "512"}]},
        {"machines": [{**PLAN.to_json()["machines"][0], "memory_mb": True}]},
        {"machines": [{**PLAN.to_json()["machines"][0], "name": 3}]},
        {"machines": [{**PLAN.to_json()["machines"][0], "address": ""}]},
        {"machines": [{**PLAN.to_json()["machines"][0], "address": "10.78.0.11"}]},
        {"machines": [{**PLAN.to_json()["machines"][0], "more": 3}]},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_plan_is_not_read(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Plan.from_json({**PLAN.to_json(), **change})


def test_the_examples_differ() -> None:
    assert NODE1 != NODE2

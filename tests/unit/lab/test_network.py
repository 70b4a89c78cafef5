"""A lab's network is made once, mended, cut, slowed down, and leaves nothing."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.errors import CommandFailed, InvalidInput
from beowulf.lab import network
from beowulf.lab.machine import Machine, Plan
from beowulf.lab.namespace import socket_inside
from beowulf.lab.network import Cable, bits_per_s, namespace_of
from beowulf.transport.local import run
from tests.unit.lab.plans import NODE1, NODE2, PLAN

PORT = {"tap11", "hub11", "plug11", "port11"}
ALL = {"lo", "switch", *PORT, "tap12", "hub12", "plug12", "port12"}


def links(lab: str) -> dict[str, dict[str, object]]:
    listed = json.loads(run(["ip", "-json", "-n", namespace_of(lab), "address"]).output)
    return {link["ifname"]: link for link in listed}


def inside(lab: str, *words: str) -> str:
    return run(["ip", "netns", "exec", namespace_of(lab), *words]).output


def assert_whole(lab: str) -> None:
    found = links(lab)
    assert set(found) == ALL
    for number in (11, 12):
        assert found[f"tap{number}"]["master"] == f"hub{number}"
        assert found[f"plug{number}"]["master"] == f"hub{number}"
        assert found[f"port{number}"]["master"] == "switch"
        for name in ("tap", "hub", "plug", "port"):
            assert "UP" in str(found[f"{name}{number}"]["flags"])
    assert "10.77.0.1" in str(found["switch"]["addr_info"])


# --- Rates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "bits"),
    [("1kbit", 1000), ("100mbit", 10**8), ("99999mbit", 99_999 * 10**6), ("100gbit", 10**11)],
)
def test_rates(rate: str, bits: int) -> None:
    assert bits_per_s(rate) == bits


@pytest.mark.parametrize(
    "rate",
    ["", "0mbit", "-1mbit", "100", "mbit", "1.5mbit", "100 mbit", "100mbps", "1tbit",
     "100mbit\n", "100mbit latency 1ms", "101gbit", "99999gbit", "100000kbit", "0100mbit",
     "٣mbit", "$(id)"],
)  # fmt: skip
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(InvalidInput, match=r"^RATE: .* is no rate; write it as 100mbit or 1gbit"):
        bits_per_s(rate)


@given(st.text(max_size=10))
def test_no_text_is_a_traceback(rate: str) -> None:
    try:
        bits = bits_per_s(rate)
    except InvalidInput:
        return
    assert 0 < bits <= 10**11


def limited(rate: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Return the pairs of words that tc would get for each end of a cable."""
    commands: list[list[str]] = []
    monkeypatch.setattr(network, "run", lambda words, **_: commands.append(words))
    network.limit("mine", PLAN, NODE1, rate)
    return [dict(itertools.pairwise(words)) for words in commands]


@pytest.mark.parametrize(
    ("rate", "burst"),
    [("1kbit", "16384"), ("100mbit", "16384"), ("200mbit", "25000"), ("1gbit", "125000"),
     ("100gbit", "12500000")],
)  # fmt: skip
def test_a_bucket_holds_what_passes_in_one_tick(
    rate: str, burst: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = limited(rate, monkeypatch)
    assert (first["rate"], first["burst"]) == (rate, burst)
    assert (second["rate"], second["burst"]) == (rate, burst)
    assert {first["dev"], second["dev"]} == {"plug11", "port11"}


# --- Real networks --------------------------------------------------------------------------


@pytest.mark.root
def test_a_network_is_made_once(lab: str) -> None:
    assert not network.exists(lab)
    assert network.cables(lab, PLAN) == {}
    network.create(lab, PLAN)
    assert_whole(lab)
    before = {name: link["ifindex"] for name, link in links(lab).items()}
    network.create(lab, PLAN)
    assert {name: link["ifindex"] for name, link in links(lab).items()} == before
    assert network.cables(lab, PLAN) == {"node1": Cable(), "node2": Cable()}


@pytest.mark.root
@pytest.mark.parametrize("name", sorted(PORT))
def test_a_half_made_port_is_made_anew_and_the_others_stay(lab: str, name: str) -> None:
    network.create(lab, PLAN)
    other = links(lab)["tap12"]["ifindex"]
    run(["ip", "-n", namespace_of(lab), "link", "delete", name])
    network.create(lab, PLAN)
    assert_whole(lab)
    assert links(lab)["tap12"]["ifindex"] == other


@pytest.mark.root
@pytest.mark.parametrize("lines", range(7))
def test_a_run_that_was_killed_anywhere_is_taken_up(lab: str, lines: int) -> None:
    network.create(lab, Plan(PLAN.subnet, (NODE2,)))
    network._batch(namespace_of(lab), network._port(11)[:lines])
    network.create(lab, PLAN)
    assert_whole(lab)


@pytest.mark.root
def test_a_switch_without_its_address_gets_it_back(lab: str) -> None:
    network.create(lab, PLAN)
    run(["ip", "-n", namespace_of(lab), "address", "flush", "dev", "switch"])
    run(["ip", "-n", namespace_of(lab), "link", "set", "switch", "down"])
    network.create(lab, PLAN)
    assert_whole(lab)
    assert "UP" in str(links(lab)["switch"]["flags"])


@pytest.mark.root
def test_a_cable_is_cut_and_healed_and_the_other_is_not(lab: str) -> None:
    network.create(lab, PLAN)
    network.cut(lab, PLAN, NODE1)
    network.cut(lab, PLAN, NODE1)
    assert network.cables(lab, PLAN) == {"node1": Cable(connected=False), "node2": Cable()}
    network.create(lab, PLAN)
    assert not network.cables(lab, PLAN)["node1"].connected
    network.heal(lab, PLAN, NODE1)
    network.heal(lab, PLAN, NODE1)
    assert network.cables(lab, PLAN) == {"node1": Cable(), "node2": Cable()}


@pytest.mark.root
@pytest.mark.parametrize("rate", ["1kbit", "1500kbit", "100mbit", "1gbit", "100gbit", "99999mbit"])
def test_a_slow_cable_is_seen_as_it_was_asked_for(lab: str, rate: str) -> None:
    network.create(lab, PLAN)
    network.limit(lab, PLAN, NODE1, "10mbit")
    network.limit(lab, PLAN, NODE1, rate)
    assert network.cables(lab, PLAN) == {"node1": Cable(rate=rate), "node2": Cable()}
    network.cut(lab, PLAN, NODE1)
    assert network.cables(lab, PLAN)["node1"] == Cable(connected=False, rate=rate)
    network.heal(lab, PLAN, NODE1)
    assert network.cables(lab, PLAN)["node1"] == Cable()
    assert "tbf" not in run(["tc", "-n", namespace_of(lab), "qdisc"]).output


@pytest.mark.root
def test_ports_whose_numbers_begin_alike_are_told_apart(lab: str) -> None:
    nodes = tuple(
        Machine(f"node{n}", f"10.77.0.{n}", f"02:00:00:00:00:{n}", 256) for n in (11, 110, 111)
    )
    plan = Plan("10.77.0.0/24", nodes)
    network.create(lab, plan)
    network.limit(lab, plan, nodes[1], "5mbit")
    network.cut(lab, plan, nodes[2])
    expected = {"node11": Cable(), "node110": Cable(rate="5mbit"), "node111": Cable(False)}
    assert network.cables(lab, plan) == expected
    network.heal(lab, plan, nodes[0])
    assert network.cables(lab, plan) == expected


@pytest.mark.root
def test_two_labs_with_the_same_addresses_live_side_by_side(new_lab: Callable[[], str]) -> None:
    first, second = new_lab(), new_lab()
    for lab in (first, second):
        network.create(lab, PLAN)
    listening = []
    for lab in (first, second):
        made = socket_inside(namespace_of(lab), socket.AF_INET, socket.SOCK_STREAM)
        made.bind((PLAN.gateway, 3128))
        made.listen()
        listening.append(made)
    network.cut(first, PLAN, NODE1)
    assert network.cables(second, PLAN)["node1"].connected
    network.remove(first)
    assert_whole(second)
    for made in listening:
        made.close()


@pytest.mark.root
def test_no_packet_leaves(lab: str) -> None:
    network.create(lab, PLAN)
    assert "default" not in inside(lab, "ip", "route")
    with pytest.raises(CommandFailed, match="unreachable"):
        inside(lab, "ip", "route", "get", "192.0.2.1")
    assert inside(lab, "sysctl", "-n", "net.ipv4.ip_forward") == "0\n"
    # A veth whose other end is in another namespace says so.
    assert "link-netnsid" not in inside(lab, "ip", "link")


@pytest.mark.root
def test_removing_leaves_nothing(lab: str) -> None:
    network.create(lab, PLAN)
    before = run(["ip", "-json", "link"]).output
    network.remove(lab)
    assert not network.exists(lab)
    assert network.processes_inside(lab) == []
    assert network.cables(lab, PLAN) == {}
    network.remove(lab)
    here = {link["ifname"] for link in json.loads(before)}
    assert not here & (ALL - {"lo"})

"""Cables to cut, to heal and to slow down; and no way out of the lab."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.lab.room import Room, wait_for

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
PING = "ping -c 1 -W 2 10.77.0.12"
MEGABYTES = 12
PORT = 7000
# Tells how fast the bytes came, in Mbit/s, once the first block is in.
RECEIVE = f"""
import socket, time
listening = socket.create_server(("", {PORT}))
print("listening", flush=True)
coming, _ = listening.accept()
block = bytearray(1 << 18)
coming.recv_into(block)
began, total = time.monotonic(), 0
while size := coming.recv_into(block):
    total += size
print(total * 8 / (time.monotonic() - began) / 1e6)
"""
SEND = f"""
import socket
with socket.create_connection(("ADDRESS", {PORT})) as going:
    for _ in range({MEGABYTES}):
        going.sendall(bytes(1_000_000))
"""


def test_a_cut_cable_heals(lab: Room) -> None:
    before = lab.on("node2", BOOT_ID)
    lab("cable", "node2", "cut")
    node = lab.status()["nodes"]["node2"]
    assert (node["state"], node["cable"]) == ("on", "cut")
    assert lab.ssh("node1", PING).returncode == 1
    lab("cable", "node2", "heal")
    assert lab.status()["nodes"]["node2"]["cable"] == "connected"
    wait_for(lambda: lab.ssh("node1", PING).returncode == 0, "node2 answers")
    assert lab.on("node2", BOOT_ID) == before, "it was restarted"


def test_a_cut_cable_stays_cut_through_a_power_cycle(lab: Room) -> None:
    lab("cable", "node2", "cut")
    lab("power", "node2", "cycle")
    assert lab.status()["nodes"]["node2"]["cable"] == "cut"


def test_up_says_at_once_that_a_cable_is_cut(lab: Room) -> None:
    lab("cable", "node2", "cut")
    refused = lab.try_to("up")
    assert refused.returncode == 3
    assert refused.stderr.splitlines()[-1] == (
        f"beowulf: node2: its cable is cut; run: beowulf lab cable node2 heal --lab {lab.name}"
    )


def speed_mbit(lab: Room, sender: str, receiver: str) -> float:
    """Send some megabytes from one node to another and return how fast they came."""
    address = lab.status()["nodes"][receiver]["address"]
    with lab.running(receiver, "python3 -u -") as receiving:
        assert receiving.stdin is not None
        assert receiving.stdout is not None
        receiving.stdin.write(RECEIVE)
        receiving.stdin.close()
        receiving.stdin = None  # so that nobody closes it again
        assert receiving.stdout.readline() == "listening\n"
        lab.on(sender, "python3 -", stdin=SEND.replace("ADDRESS", address))
        return float(receiving.stdout.readline())


@pytest.mark.parametrize(("sender", "receiver"), [("node1", "node2"), ("node2", "node1")])
def test_a_cable_of_100_mbit_is_one_in_both_directions(
    lab: Room, sender: str, receiver: str
) -> None:
    unlimited = speed_mbit(lab, sender, receiver)
    lab("cable", "node1", "rate", "100mbit")
    assert lab.status()["nodes"]["node1"]["rate"] == "100mbit"
    # A busy computer makes any cable slower, so the best of some is the cable's own speed.
    speeds = [speed_mbit(lab, sender, receiver) for _ in range(3)]
    assert 90 <= max(speeds) <= 100, (speeds, unlimited)
    lab("cable", "node1", "heal")
    assert lab.status()["nodes"]["node1"]["rate"] is None
    assert max(speed_mbit(lab, sender, receiver) for _ in range(3)) > 100


def test_nothing_connects_the_lab_with_another_network(untouched_lab: Room) -> None:
    def inside(*words: str) -> list[dict[str, str]]:
        command = ["ip", "-json", "-n", untouched_lab.namespace, *words]
        printed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        found: list[dict[str, str]] = json.loads(printed or b"[]")
        return found

    links = inside("link")
    for link in links:
        # Only a link whose other end is in another namespace has one of these.
        assert "link_netnsid" not in link, link
    kinds = {link["ifname"].rstrip("0123456789") for link in links}
    assert kinds == {"lo", "switch", "hub", "tap", "plug", "port"}
    assert [route["dst"] for route in inside("route")] == ["10.77.0.0/24"]


def test_packages_come_through_the_proxy_and_nothing_else_does(lab: Room) -> None:
    lab.on("node1", "sudo apt-get update")
    lab.on("node1", "sudo apt-get install --yes --no-install-recommends hello")
    assert lab.on("node1", "hello") == "Hello, world!"
    # An address for documentation (RFC 5737): the proxy must refuse it without trying.
    asked = lab.on(
        "node1",
        """python3 - <<'END'
import http.client
proxy = http.client.HTTPConnection("10.77.0.1", 3128, timeout=60)
proxy.request("GET", "http://203.0.113.7/")
print(proxy.getresponse().status)
END""",
    )
    assert asked == "403"


def test_the_switch_offers_nodes_the_proxy_and_nothing_else(untouched_lab: Room) -> None:
    listening = subprocess.run(
        ["ip", "netns", "exec", untouched_lab.namespace, "ss", "-Hltun"],
        capture_output=True, check=True, timeout=60, encoding="utf-8",
    ).stdout  # fmt: skip
    assert [line.split()[4] for line in listening.splitlines()] == ["10.77.0.1:3128"]

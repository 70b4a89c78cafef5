"""Plugs to pull: power off and on, a hang, a power cut while writing, waking by the network."""

from __future__ import annotations

import queue
import subprocess
import threading
from typing import IO

import pytest

from tests.lab.room import Room, wait_for

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
# Ethernet, no IP: how wake-on-LAN tools send to a machine that has no address now.
WAKE = """
import socket
mac = bytes.fromhex("{mac}".replace(":", ""))
packet = b"\\xff" * 6 + mac * {repetitions}
sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sending.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
sending.sendto(packet, ("10.77.0.255", 9))
"""


def test_a_power_cut_keeps_what_was_synced_to_disk(lab: Room) -> None:
    before = lab.on("node1", BOOT_ID)
    lab.on("node1", "echo kept > kept && sync kept . && sync")
    lab("power", "node1", "off")
    assert lab.state("node1") == "off"
    lab("up", "node1")
    assert lab.on("node1", "cat kept") == "kept"
    assert lab.on("node1", BOOT_ID) != before
    assert lab.on("node1", "systemctl is-system-running --wait") == "running"


def test_a_power_cut_takes_what_was_only_in_memory(lab: Room) -> None:
    lab.on("node1", "echo lost > /dev/shm/lost; sync")
    lab("power", "node1", "cycle")
    lab("up", "node1")
    assert lab.ssh("node1", "cat /dev/shm/lost").returncode == 1


def test_a_shutdown_ends_services_in_order(lab: Room) -> None:
    lab.on("node1", "echo kept > kept")  # never synced: an orderly shutdown writes it out
    lab("down", "node1")
    assert lab.state("node1") == "off"
    assert lab.state("node2") == "on"
    lab("up", "node1")
    assert lab.on("node1", "cat kept") == "kept"


def test_a_node_that_reboots_itself_is_back_with_its_network(lab: Room) -> None:
    for _ in range(2):
        before = lab.on("node1", BOOT_ID)
        pid = lab.status()["nodes"]["node1"]["pid"]
        # A little later, so that the login ends before the network does.
        lab.on("node1", "sudo systemd-run --quiet --on-active=2 systemctl reboot")

        def is_back(before: str = before) -> bool:
            try:
                told = lab.ssh("node1", BOOT_ID, timeout_s=20)
            except subprocess.TimeoutExpired:  # the kernel went while it asked
                return False
            return told.returncode == 0 and told.stdout.strip() != before

        def is_whole() -> bool:
            told = lab.ssh("node1", "systemctl is-system-running --wait")
            return told.stdout.strip() == "running"

        wait_for(is_back, "node1 is back")
        wait_for(is_whole, "all of node1's services run")
        assert lab.state("node1") == "on"
        assert lab.status()["nodes"]["node1"]["pid"] == pid
    lab.on("node2", "ping -c 1 -W 30 10.77.0.11")
    lab("down", "node1")  # the lab still knows where its button is
    assert lab.state("node1") == "off"


def test_a_pause_is_a_hang_connections_stay_open_and_nothing_answers(lab: Room) -> None:
    with lab.running("node1", "cat") as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None
        lines = lines_of(echo.stdout)
        echo.stdin.write("before\n")
        echo.stdin.flush()
        assert lines.get(timeout=60) == "before\n"
        lab("power", "node1", "pause")
        assert lab.state("node1") == "paused"
        echo.stdin.write("while paused\n")
        echo.stdin.flush()
        with pytest.raises(queue.Empty):
            lines.get(timeout=5)
        assert echo.poll() is None, "the connection broke"
        lab("power", "node1", "resume")
        assert lines.get(timeout=60) == "while paused\n"


def lines_of(stream: IO[str]) -> queue.Queue[str]:
    """Return a queue that a thread fills with the lines of a stream; an empty one is its end."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines


def test_a_paused_node_is_never_taken_for_one_that_is_up(lab: Room) -> None:
    lab("power", "node1", "pause")
    refused = lab.try_to("up", "node1")
    assert refused.returncode == 1
    said = f"beowulf: node1 is paused; run: beowulf lab power node1 resume --lab {lab.name}"
    assert refused.stderr.splitlines()[-1] == said
    entering = lab.ssh("node1", "true")
    assert (entering.returncode, entering.stderr) == (3, f"{said}\n")


def test_a_magic_packet_wakes_a_node_that_is_off(lab: Room) -> None:
    mac = lab.status()["nodes"]["node2"]["mac"]
    lab("down", "node2")
    lab.on("node1", "python3 -", stdin=WAKE.format(mac=mac, repetitions=15))
    lab.on("node1", "python3 -", stdin=WAKE.format(mac="02:00:00:00:00:01", repetitions=16))
    lab.on("node1", "true")
    assert lab.state("node2") == "off", "something else than its magic packet woke it"
    lab.on("node1", "python3 -", stdin=WAKE.format(mac=mac, repetitions=16))
    wait_for(lambda: lab.state("node2") == "on", "node2 was woken")
    lab("up", "node2")
    assert lab.on("node2", "hostname") == "node2"


def test_what_is_off_cannot_be_paused_and_is_no_place_to_log_in(lab: Room) -> None:
    lab("power", "node3", "off")
    lab("power", "node3", "off")  # twice is as good as once
    assert lab.try_to("power", "node3", "pause").returncode == 1
    entering = lab.ssh("node3", "true")
    assert entering.returncode == 3
    assert entering.stderr == (
        f"beowulf: node3 is off; run: beowulf lab up node3 --lab {lab.name}\n"
    )

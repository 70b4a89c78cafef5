"""A lab's life: two at once, runs that are killed, snapshots, and nothing left at the end."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.lab.room import Room


def test_two_labs_at_once_do_not_see_each_other(untouched_lab: Room, own_room: Room) -> None:
    own_room("up", "node1")  # of the same name and address as one of the other lab's
    here, there = untouched_lab.status(), own_room.status()
    assert here["nodes"]["node1"]["address"] == there["nodes"]["node1"]["address"]
    untouched_lab.on("node2", "ping -c 5 -W 30 10.77.0.11")
    own_room.on("node1", "ping -c 5 -W 30 10.77.0.1")
    assert own_room.ssh("node1", "ping -c 1 -W 2 10.77.0.12").returncode == 1
    keys = {Path(lab["known_hosts"]).read_text().splitlines()[-1] for lab in (here, there)}
    assert len(keys) == 2


def test_a_node_with_another_host_key_is_refused(own_room: Room) -> None:
    own_room("up", "node1", "node2")
    known_hosts = Path(own_room.status()["known_hosts"])
    keys = dict(line.split(" ", 1) for line in known_hosts.read_text().splitlines())
    first, second = keys
    known_hosts.write_text(f"{first} {keys[second]}\n{second} {keys[first]}\n")
    refused = own_room.ssh("node1", "true")
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


@pytest.mark.parametrize("line", ["booting", "waiting for a login"])
def test_a_run_that_is_killed_half_way_is_taken_up_by_the_next(own_room: Room, line: str) -> None:
    killed = own_room.start("up", "node1", "node2")
    assert killed.stdout is not None
    for words in killed.stdout:
        if line in words:
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    own_room("up", "node1", "node2")
    for node in ("node1", "node2"):
        assert own_room.on(node, "hostname") == node


def test_a_node_that_nobody_wrote_down_is_started_afresh(own_room: Room) -> None:
    own_room("up", "node1")
    before = own_room.on("node1", "cat /proc/sys/kernel/random/boot_id")
    (Path(own_room.status()["directory"]) / "nodes/node1/process.json").unlink()
    own_room("up", "node1")
    assert own_room.on("node1", "cat /proc/sys/kernel/random/boot_id") != before


def test_a_power_cut_right_after_the_first_boot_does_no_harm(own_room: Room) -> None:
    own_room("up", "node1")
    own_room("power", "node1", "cycle")
    own_room("up", "node1")
    assert own_room.on("node1", "hostname") == "node1"


def test_destroy_leaves_nothing_even_of_a_lab_that_forgot_itself(own_room: Room) -> None:
    own_room("up", "node1")
    assert len(own_room.leftovers()) > 3, "the test does not see what there is"
    directory = Path(own_room.status()["directory"])
    (directory / "nodes/node1/process.json").unlink()
    (directory / "keeper.json").unlink()
    (directory / "lab.json").write_text("{")
    own_room("destroy")
    assert own_room.leftovers() == []
    own_room("destroy")  # and nothing is as good as a lab
    assert own_room.leftovers() == []


def test_nodes_are_destroyed_one_by_one_and_the_lab_with_the_last(own_room: Room) -> None:
    own_room("up", "node1", "node2")
    own_room("destroy", "node1")
    assert (own_room.state("node1"), own_room.state("node2")) == ("absent", "on")
    own_room("up", "node1")  # with another disk, so with other host keys
    assert own_room.on("node1", "hostname") == "node1"
    own_room("destroy", "node1", "node2")
    assert own_room.leftovers() == []


def test_up_twice_changes_nothing(untouched_lab: Room) -> None:
    before = untouched_lab.status()
    untouched_lab("up", "--image", "prepared")
    after = untouched_lab.status()
    assert [n["pid"] for n in after["nodes"].values()] == [
        n["pid"] for n in before["nodes"].values()
    ]


def test_a_lab_is_not_made_over_with_another_inventory(untouched_lab: Room, tmp_path: Path) -> None:
    shutil.copytree(untouched_lab.inventory, tmp_path / "other")
    hosts = tmp_path / "other" / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("lab_memory_mb: 1024", "lab_memory_mb: 512"))
    other = Room(untouched_lab.name, tmp_path / "other").try_to("up", "--image", "prepared")
    assert other.returncode == 1
    assert "with other machines; give another name with --lab" in other.stderr
    assert other.stderr.startswith(f"beowulf: {untouched_lab.name} is a lab with other machines")
    assert other.stderr.count("\n") == 1


def test_a_snapshot_brings_disks_cables_and_power_back(lab: Room) -> None:
    others = lab("snapshot", "list").split()
    lab.on("node1", "echo first > file")  # saving must write it out
    lab("cable", "node2", "rate", "10mbit")
    lab("down", "node3")
    lab("snapshot", "save", "one")
    lab.on("node1", "echo second > file; sync")
    lab("cable", "node2", "heal")
    lab("cable", "node1", "cut")
    lab("up", "node3")
    assert lab("snapshot", "list").split() == sorted([*others, "one"])
    lab("snapshot", "restore", "one")
    assert lab.on("node1", "cat file") == "first"
    nodes = lab.status()["nodes"]
    assert nodes["node1"]["cable"] == "connected"
    assert nodes["node2"]["rate"] == "10mbit"
    assert nodes["node3"]["state"] == "off"
    lab("snapshot", "delete", "one")
    assert lab("snapshot", "list").split() == others


def test_an_interrupted_run_ends_at_once_and_leaves_nodes_on(own_room: Room) -> None:
    interrupted = own_room.start("up", "node1")
    assert interrupted.stdout is not None
    for words in interrupted.stdout:
        if "booting" in words:
            break
    interrupted.send_signal(signal.SIGINT)
    said = interrupted.stdout.read()
    interrupted.stdout.close()
    assert interrupted.wait() == 130
    assert said.splitlines()[-1] == "beowulf: interrupted"
    assert "ready" not in said, "it waited for the node"
    assert own_room.state("node1") == "on"


def test_a_snapshot_that_there_is_not_is_named(untouched_lab: Room) -> None:
    there_are = ", ".join(untouched_lab("snapshot", "list").split())
    missing = untouched_lab.try_to("snapshot", "restore", "nothing")
    assert missing.returncode == 4
    assert missing.stderr == f"beowulf: there is no snapshot nothing; there are: {there_are}\n"

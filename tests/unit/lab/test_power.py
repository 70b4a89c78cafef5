"""A node's power, with a program in the kernel's place: on once, off for certain, and woken."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from beowulf.errors import LabError
from beowulf.lab import console, keeper, network, power, process, shim
from beowulf.lab.access import ensure_identity
from beowulf.lab.directory import LabDirectory, lab_directory
from beowulf.lab.magic import magic_packet
from beowulf.lab.namespace import socket_inside
from beowulf.lab.network import SWITCH, namespace_of
from beowulf.lab.power import PowerSupply
from beowulf.lab.settings import Settings, write_settings
from tests.unit.lab.plans import NODE1, NODE2, PLAN

# What linux.uml would do, less the kernel: its disk, its management console, its words.
KERNEL = """#!/bin/sh
for word; do
  case "$word" in
    umid=*) name="${word#umid=}" ;;
    uml_dir=*) consoles="${word#uml_dir=}" ;;
    ubd0=*) disk="${word#ubd0=}" ;;
  esac
done
echo "kernel $$ of $name"
: >> "${disk%,*}"
mkdir -p "$consoles$name"
: > "$consoles$name/mconsole"
sleep 1000 &
wait
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named ``linux.uml``, and no need for what it would need."""
    path = tmp_path / "bin" / "linux.uml"
    path.parent.mkdir()
    path.write_text(KERNEL)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}:/usr/sbin:/sbin")
    monkeypatch.setattr(shim, "needed", lambda: False)
    return path


@pytest.fixture
def directory(lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabDirectory]:
    """A lab with a network and no nodes. What is left on is switched off."""
    monkeypatch.setenv("BEOWULF_LAB_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("BEOWULF_LAB_CACHE_DIR", str(tmp_path / "cache"))
    directory = lab_directory(lab)
    directory.path.mkdir(parents=True)
    write_settings(directory, Settings(PLAN, "bare", tmp_path / "base", tmp_path))
    ensure_identity(directory)
    network.create(lab, PLAN)
    yield directory
    for machine in PLAN.machines:
        power.pull_the_plug(directory, machine.name)


@pytest.fixture
def supply(directory: LabDirectory, kernel: Path, tmp_path: Path) -> PowerSupply:
    return PowerSupply(directory, PLAN, tmp_path / "base", None)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_was_never_made_is_absent(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path)
    assert power.state(directory, "node1") == power.ABSENT
    assert power.kernel_pid(directory, "node1") is None
    power.pull_the_plug(directory, "node1")
    power.press_the_button(directory, "node1")
    assert list(tmp_path.iterdir()) == []


def test_what_is_off_can_be_neither_paused_nor_resumed(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path)
    directory.node("node1").path.mkdir(parents=True)
    assert power.state(directory, "node1") == power.OFF
    for press in (power.pause, power.resume):
        with pytest.raises(LabError, match=r"^node1 is off; run: beowulf lab power .*node1 on"):
            press(directory, "node1")
    power.press_the_button(directory, "node1")
    assert power.state(directory, "node1") == power.OFF


@pytest.mark.root
def test_power_comes_once_and_goes_for_certain(supply: PowerSupply) -> None:
    directory = supply.directory
    assert power.switch_on(supply, NODE1)
    assert not power.switch_on(supply, NODE1)
    assert power.state(directory, "node1") == power.ON
    assert power.state(directory, "node2") == power.ABSENT
    pid = power.kernel_pid(directory, "node1")
    assert pid is not None
    family = psutil.Process(pid).children(recursive=True)
    assert [child.name() for child in family] == ["sleep"]
    power.pull_the_plug(directory, "node1")
    power.pull_the_plug(directory, "node1")
    assert power.state(directory, "node1") == power.OFF
    assert power.kernel_pid(directory, "node1") is None
    wait_for(lambda: not any(child.is_running() for child in family))
    assert network.processes_inside(directory.name) == []
    assert directory.node("node1").disk.exists()


@pytest.mark.root
def test_a_kernel_is_inside_its_lab_and_alone(supply: PowerSupply) -> None:
    power.switch_on(supply, NODE1)
    pid = power.kernel_pid(supply.directory, "node1")
    assert pid is not None
    assert pid in network.processes_inside(supply.directory.name)
    assert "kernel 1 of node1" in supply.directory.node("node1").console.read_text()
    assert len(psutil.Process(pid).cpu_affinity()) == 1


@pytest.mark.root
def test_a_kernel_that_was_compiled_here_is_started_from_where_it_is(
    supply: PowerSupply, kernel: Path, tmp_path: Path
) -> None:
    place = tmp_path / "it's mine"
    place.mkdir()
    program = kernel.rename(place / "linux.uml")
    power.switch_on(dataclasses.replace(supply, program=str(program)), NODE1)
    pid = power.kernel_pid(supply.directory, "node1")
    assert pid is not None
    assert "seccomp=on" in psutil.Process(pid).cmdline()


@pytest.mark.root
def test_what_a_node_writes_is_root_s_alone(supply: PowerSupply) -> None:
    power.switch_on(supply, NODE1)
    files = supply.directory.node("node1")
    for path in (files.disk, files.console, supply.directory.consoles / "node1" / "mconsole"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.root
def test_a_paused_node_is_known_as_such_and_can_be_switched_off(supply: PowerSupply) -> None:
    directory = supply.directory
    power.switch_on(supply, NODE1)
    power.pause(directory, "node1")
    wait_for(lambda: power.state(directory, "node1") == power.PAUSED)
    assert not power.switch_on(supply, NODE1)
    with pytest.raises(LabError, match=r"^node1 is paused; run: beowulf lab power .*node1 resume"):
        power.press_the_button(directory, "node1")
    power.resume(directory, "node1")
    wait_for(lambda: power.state(directory, "node1") == power.ON)
    power.pause(directory, "node1")
    power.pull_the_plug(directory, "node1")
    assert power.state(directory, "node1") == power.OFF


@pytest.mark.root
def test_pressed_buttons_are_heard_by_the_kernel(
    supply: PowerSupply, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = supply.directory
    power.switch_on(supply, NODE1)
    orders: list[tuple[Path, str]] = []

    def shut_down(path: Path, order: str) -> str:
        orders.append((path, order))
        pid = power.kernel_pid(directory, "node1")
        assert pid is not None
        psutil.Process(pid).kill()
        return "OK"

    monkeypatch.setattr(console, "ask", shut_down)
    power.press_the_button(directory, "node1")
    assert orders == [(directory.management_console("node1"), "cad")]
    assert power.state(directory, "node1") == power.OFF


@pytest.mark.root
def test_a_node_that_does_not_shut_down_stays_on_and_is_named(
    supply: PowerSupply, monkeypatch: pytest.MonkeyPatch
) -> None:
    power.switch_on(supply, NODE1)
    monkeypatch.setattr(console, "ask", lambda *_: "OK")
    monkeypatch.setattr(power, "SHUTDOWN_TIMEOUT_S", 0.2)
    with pytest.raises(LabError, match=r"^node1 did not shut down .*; run: .* power .*node1 off"):
        power.press_the_button(supply.directory, "node1")
    assert power.state(supply.directory, "node1") == power.ON


@pytest.mark.root
def test_a_kernel_that_dies_at_once_is_quoted(supply: PowerSupply, kernel: Path) -> None:
    kernel.write_text("#!/bin/sh\necho 'Kernel panic - not syncing: no disk'\nexit 1\n")
    with pytest.raises(LabError, match=r"^node1: linux\.uml did not start: Kernel panic .*; see "):
        power.switch_on(supply, NODE1)
    assert power.state(supply.directory, "node1") == power.OFF
    assert network.processes_inside(supply.directory.name) == []


@pytest.mark.root
def test_a_kernel_that_never_begins_is_ended(
    supply: PowerSupply, kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.write_text("#!/bin/sh\nsleep 1000\n")
    monkeypatch.setattr(power, "START_TIMEOUT_S", 0.5)
    with pytest.raises(LabError, match=r"^node1: linux\.uml did not start: nothing; see "):
        power.switch_on(supply, NODE1)
    wait_for(lambda: network.processes_inside(supply.directory.name) == [])


@pytest.mark.root
@pytest.mark.parametrize("again", ["on", "off"])
def test_a_kernel_that_nobody_wrote_down_is_ended(supply: PowerSupply, again: str) -> None:
    directory = supply.directory
    power.switch_on(supply, NODE1)
    power.switch_on(supply, NODE2)
    pid = power.kernel_pid(directory, "node1")
    assert pid is not None
    forgotten = psutil.Process(pid)
    directory.node("node1").process.unlink()
    assert power.state(directory, "node1") == power.OFF
    if again == "on":
        assert power.switch_on(supply, NODE1)
    else:
        power.pull_the_plug(directory, "node1")
    wait_for(lambda: not forgotten.is_running())
    assert (power.state(directory, "node1"), power.state(directory, "node2")) == (again, "on")


@pytest.mark.root
def test_many_hands_on_one_button_make_one_kernel(supply: PowerSupply) -> None:
    with ThreadPoolExecutor(8) as pool:
        switched = list(pool.map(lambda _: power.switch_on(supply, NODE1), range(8)))
    assert sorted(switched) == [False] * 7 + [True]


@pytest.mark.root
def test_two_nodes_are_two_processes(supply: PowerSupply) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda machine: power.switch_on(supply, machine), PLAN.machines)) == [
            True, True
        ]  # fmt: skip
    power.pull_the_plug(supply.directory, "node1")
    assert power.state(supply.directory, "node2") == power.ON


@pytest.mark.root
def test_a_magic_packet_at_the_switch_wakes_the_node_that_is_off(supply: PowerSupply) -> None:
    directory = supply.directory
    power.switch_on(supply, NODE1)
    power.pull_the_plug(directory, "node1")
    keeper.ensure_keeper(directory)
    try:
        namespace = namespace_of(directory.name)
        with socket_inside(namespace, socket.AF_PACKET, socket.SOCK_RAW) as sending:
            sending.bind((SWITCH, 0))
            frame = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x08\x42"
            sending.send(frame + magic_packet(NODE2.mac) + magic_packet(NODE1.mac))
        wait_for(lambda: power.state(directory, "node1") == power.ON)
        assert power.state(directory, "node2") == power.ABSENT
        wait_for(lambda: "node1 was woken" in directory.keeper_log.read_text())
    finally:
        process.end(directory.keeper)
    assert power.state(directory, "node1") == power.ON

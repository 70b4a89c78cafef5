"""Vagrant starts two machines from our box with libvirt, on a computer without virtualization.

Run by ``make test-libvirt`` only: everything is emulated, and takes its time.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from beowulf.lab.proxy import stop_proxy
from beowulf.transport.local import Finished, run
from tests.libvirt.room import Room, furnished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.root, pytest.mark.timeout(3600)]

REPOSITORY = Path(__file__).parents[2]
LAB = "proof"
NODES = ("node1", "node2")
UP_S = 1800
NEEDED = (
    *("libvirtd", "virtlogd", "virsh", "vagrant", "qemu-system-x86_64", "qemu-img", "dnsmasq"),
    *("iptables", "nsenter", "mmdebstrap", "squid", "grub-mkimage"),
)
LOOP = """
import time
began = time.process_time()
total = 0
for number in range(5_000_000):
    total += number * number
print(time.process_time() - began)
"""


class Figures:
    """What was measured, in the order in which it was."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, what: str, figure: str) -> None:
        self.lines.append(f"{what:<46} {figure}")

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.add(what, f"{time.monotonic() - began:.0f} s")


@pytest.fixture(scope="module")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Collect figures and show them at the end, whatever pytest captures."""
    found = Figures()
    for word in ("libvirtd", "qemu-system-x86_64", "vagrant"):
        found.add(word, run([word, "--version"]).output.splitlines()[0])
    cores = f"{psutil.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before"
    found.add("this computer", f"{cores}, Linux {platform.release().split('-')[0]}")
    yield found
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        sys.stdout.write("\n\n" + "\n".join(found.lines) + "\n")
        sys.stdout.flush()


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A directory that is removed at the end, with the packages fetched for the box."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    assert not missing, f"not installed here: {', '.join(missing)}; type: make test-libvirt"
    assert os.geteuid() == 0, "only root can open namespaces; type: sudo make test-libvirt"
    with tempfile.TemporaryDirectory(prefix="beowulf-libvirt-") as folder:
        Path(folder).chmod(0o711)  # the proxy has an account of its own
        yield Path(folder)


@pytest.fixture(scope="module")
def box(scratch: Path, figures: Figures) -> Path:
    """The box, made by the script in the repository."""
    path = scratch / "beowulf.box"
    cache = scratch / "cache"
    script = REPOSITORY / "vagrant/box/make_box.py"
    try:
        with figures.timed("box made, packages fetched anew, in"):
            made = run(
                [sys.executable, script, path],
                environment={"BEOWULF_LAB_CACHE_DIR": str(cache)},
                timeout_s=UP_S,
            )
    finally:
        stop_proxy(cache)
    figures.add("box", f"{path.stat().st_size / 1e6:.0f} MB, {made.errors.split(', ')[-1].strip()}")
    return path


@pytest.fixture(scope="module")
def room(scratch: Path, figures: Figures) -> Iterator[Room]:
    """A computer without KVM, with libvirt running and no network but its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BEOWULF_")}
    environment = {
        **kept,
        "HOME": str(scratch),
        "LC_ALL": "C.UTF-8",
        "BEOWULF_LAB": LAB,
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_DOTFILE_PATH": str(scratch / "dotfiles"),
        "VAGRANT_HOME": str(scratch / "vagrant"),
        "VAGRANT_DEFAULT_PROVIDER": "libvirt",
    }
    with furnished(scratch / "room", REPOSITORY, environment) as opened:
        yield opened
        left = opened.processes()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not alive, f"still running: {alive}"
    assert str(scratch) not in Path("/proc/self/mounts").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def machines(room: Room, box: Path, figures: Figures) -> Room:
    """Both machines, up, in their room."""
    room.run("vagrant", "box", "add", "--name", "beowulf", box)
    with figures.timed("vagrant up of two machines, from the box, in"):
        room.run("vagrant", "up", "--no-color", "--provider=libvirt", *NODES, timeout_s=UP_S)
    return room


def ssh(room: Room, node: str, command: str) -> Finished:
    return room.run("vagrant", "ssh", node, "-c", command, timeout_s=300, check=False)


@pytest.fixture(scope="module")
def on(machines: Room) -> Callable[[str, str], str]:
    """Run a command on a machine, through ``vagrant ssh``, and return what it printed."""

    def said(node: str, command: str) -> str:
        done = ssh(machines, node, command)
        assert done.status == 0, done.errors
        return done.output.replace("\r", "")

    return said


def domain(node: str) -> str:
    return f"beowulf-{LAB}-{node}"


def test_the_machines_are_emulated_and_their_networks_lead_nowhere(machines: Room) -> None:
    for node in NODES:
        described = machines.run("virsh", "dumpxml", domain(node)).output
        assert "<domain type='qemu'" in described
    names = machines.run("virsh", "net-list", "--name").output.split()
    assert sorted(names) == [f"beowulf-{LAB}", f"beowulf-{LAB}-vagrant"]
    for name in names:
        assert "<forward" not in machines.run("virsh", "net-dumpxml", name).output


def test_each_machine_is_itself_and_knows_the_others(
    on: Callable[[str, str], str], figures: Figures
) -> None:
    for node, other in (NODES, NODES[::-1]):
        began = time.monotonic()
        assert on(node, "hostname").strip() == node
        figures.add(f"vagrant ssh {node} -c hostname, in", f"{time.monotonic() - began:.1f} s")
        knock = f'socket.create_connection(("{other}", 22), 30).recv(4)'
        assert "SSH-" in on(node, f"python3 -c 'import socket; print({knock})'")
        assert "default" not in on(node, "ip route")
        assert on(node, "systemctl is-system-running --wait").strip() == "running"
        took = re.search(r"= (.+)", on(node, "systemd-analyze"))
        assert took is not None
        figures.add(f"{node}: from kernel to the last service", took[1].strip())


def test_no_key_but_the_one_on_the_console_is_taken_for_a_machines(
    machines: Room, on: Callable[[str, str], str], scratch: Path
) -> None:
    keys = scratch / "dotfiles/beowulf" / LAB / "node1.known_hosts"
    right = keys.read_text(encoding="ascii")
    wrong = keys.with_name("node2.known_hosts").read_text(encoding="ascii")
    ed25519 = on("node1", "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    assert f"node1 ssh-ed25519 {ed25519}\n" in right
    try:
        for known in ("", wrong.replace("node2 ", "node1 ")):
            keys.write_text(known, encoding="ascii")
            assert ssh(machines, "node1", "true").status == 255
    finally:
        keys.write_text(right, encoding="ascii")
    assert ssh(machines, "node1", "true").status == 0


def test_the_kernel_is_stock_and_has_nfs(on: Callable[[str, str], str], figures: Figures) -> None:
    for node in NODES:
        kinds = on(node, "sudo modprobe -a nfs nfsv4 nfsd && cat /proc/filesystems").split()
        assert {"nfs", "nfs4", "nfsd"} <= set(kinds)
    figures.add("kernel, with nfs, nfsv4 and nfsd", on("node1", "uname -r").strip())


def test_how_fast_the_machines_compute(
    machines: Room, on: Callable[[str, str], str], figures: Figures
) -> None:
    here_s = float(run([sys.executable, "-c", LOOP]).output)
    there_s = float(on("node1", f"python3 -c '{LOOP}'"))
    figures.add("5 million additions in Python, this computer", f"{here_s:.2f} s")
    figures.add("the same in a machine", f"{there_s:.2f} s, {there_s / here_s:.0f} times slower")
    used = on("node1", "free --mega | awk '/Mem:/ {print $3}'").strip()
    emulator = [p for p in machines.processes() if domain("node1") in " ".join(p.cmdline())]
    rss_mb = max(process.memory_info().rss for process in emulator) / 1e6
    figures.add("memory used in a machine, and by its emulator", f"{used} MB, {rss_mb:.0f} MB")


def test_a_machine_that_was_halted_comes_up_as_it_was(
    machines: Room, on: Callable[[str, str], str], figures: Figures
) -> None:
    on("node2", "echo kept > kept && sync")
    with figures.timed("vagrant halt of one machine, in"):
        machines.run("vagrant", "halt", "node2", timeout_s=600)
    assert machines.run("virsh", "domstate", domain("node2")).output.strip() == "shut off"
    with figures.timed("vagrant up of one machine, halted before, in"):
        machines.run("vagrant", "up", "node2", timeout_s=UP_S)
    assert on("node2", "cat kept; hostname").split() == ["kept", "node2"]
    assert "10.77.0.12/24" in on("node2", "ip -brief address")


def test_destroy_leaves_no_machine_network_or_key(machines: Room, scratch: Path) -> None:
    machines.run("vagrant", "destroy", "--force", timeout_s=600)
    assert machines.run("virsh", "list", "--all", "--name").output.strip() == ""
    assert machines.run("virsh", "net-list", "--all", "--name").output.strip() == ""
    disks = machines.run("virsh", "vol-list", "default").output
    assert not any(node in disks for node in NODES)
    files = [path.name for path in (scratch / "dotfiles/beowulf" / LAB).iterdir()]
    assert sorted(files) == ["identity", "identity.pub", "lock"]
    assert not [p for p in machines.processes() if p.name().startswith("qemu-system")]

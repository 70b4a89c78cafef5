"""What a cluster needs of its machines: services, NFS through the kernel, MPI over TCP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.lab.room import NODES, Room

SUM = """
import array
from mpi4py import MPI

world = MPI.COMM_WORLD
mine = array.array("d", [float(world.rank + 1)] * 100_000)
total = array.array("d", bytes(8 * len(mine)))
world.Allreduce([mine, MPI.DOUBLE], [total, MPI.DOUBLE])
assert set(total) == {10.0}, set(total)
names = world.gather(MPI.Get_processor_name())
if world.rank == 0:
    print("sum", total[0], *names)
"""


def test_every_node_is_up_and_running(untouched_lab: Room) -> None:
    states = {node: untouched_lab.on(node, "systemctl is-system-running") for node in NODES}
    assert states == dict.fromkeys(NODES, "running")


def test_every_node_is_the_machine_that_the_inventory_states(untouched_lab: Room) -> None:
    for name, node in untouched_lab.status()["nodes"].items():
        told = untouched_lab.on(
            name, "hostname; cat /etc/hostname /sys/class/net/vec0/address; hostname -I; nproc"
        ).split()
        assert told == [name, name, node["mac"], node["address"], "1"]
        memory_kb = int(untouched_lab.on(name, "grep MemTotal /proc/meminfo").split()[1])
        assert 0.85 < memory_kb * 1024 / (node["memory_mb"] * 2**20) <= 1


def test_a_node_has_a_kernel_of_its_own(untouched_lab: Room) -> None:
    there = untouched_lab.on("node1", "uname -r; cat /proc/sys/kernel/random/boot_id").split()
    other = untouched_lab.on("node2", "uname -r; cat /proc/sys/kernel/random/boot_id").split()
    here = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert there[0] == other[0]
    assert len({there[1], other[1], here}) == 3


def test_disks_hold_only_what_each_node_changed(untouched_lab: Room) -> None:
    for node in untouched_lab.status()["nodes"].values():
        assert node["disk_mb"] < 100


def test_an_nfs_export_of_the_head_mounts_on_all_others(lab: Room) -> None:
    lab.on("head", "sudo mkdir -p /srv/shared && sudo chmod 1777 /srv/shared")
    lab.write("head", "/etc/exports", "/srv/shared 10.77.0.0/24(rw,sync,no_subtree_check)\n")
    lab.on("head", "sudo systemctl enable --now nfs-server && sudo exportfs -ra")
    for node in NODES[1:]:
        lab.on(node, "sudo mkdir -p /mnt/shared")
        lab.on(node, "sudo mount -t nfs4 -o vers=4.2 10.77.0.10:/srv/shared /mnt/shared")
        assert " nfs4 " in lab.on(node, "grep /mnt/shared /proc/mounts")
    lab.on("node1", "echo from node1 > /mnt/shared/file && sync")
    for node in NODES[2:]:
        assert lab.on(node, "cat /mnt/shared/file") == "from node1"
    assert lab.on("head", "cat /srv/shared/file") == "from node1"


@pytest.fixture(scope="session")
def mpi4py_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of mpi4py for the nodes' Python, as a cluster without internet would get it."""
    directory = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    target = ["--only-binary=:all:", "--python-version=3.13", "--abi=cp313"]
    constraints = ["--constraint", str(REPOSITORY / "constraints.txt")]
    subprocess.run(
        [*pip, *target, *constraints, "--dest", str(directory), "mpi4py"], check=True, timeout=300
    )
    (wheel,) = directory.glob("*.whl")
    return wheel


def test_the_mpi4py_wheel_sums_over_all_nodes(lab: Room, mpi4py_wheel: Path) -> None:
    known_hosts = Path(lab.status()["known_hosts"]).read_text()
    lab.on("head", "ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519")
    key = lab.on("head", "cat ~/.ssh/id_ed25519.pub")
    lab.write("head", "/etc/ssh/ssh_known_hosts", known_hosts)
    for node in NODES:
        lab.on(node, "cat >> ~/.ssh/authorized_keys", stdin=f"{key}\n")
        lab.write(node, "/home/admin/sum.py", SUM)
        _copy(lab, mpi4py_wheel, node, "mpi4py.zip")
        lab.on(node, "python3 -m zipfile -e mpi4py.zip packages")
    hosts = "".join(f"{node['address']} slots=1\n" for node in lab.status()["nodes"].values())
    lab.write("head", "/home/admin/hosts", hosts)
    printed = lab.on(
        "head",
        "mpirun --hostfile hosts -np 4 --map-by node --mca btl tcp,self "
        "--mca btl_tcp_if_include 10.77.0.0/24 --prtemca prte_if_include 10.77.0.0/24 "
        "-x PYTHONPATH=/home/admin/packages python3 -m mpi4py sum.py",
    )
    assert printed.splitlines()[-1].split()[:2] == ["sum", "10.0"]
    assert sorted(printed.splitlines()[-1].split()[2:]) == sorted(NODES)


def _copy(lab: Room, source: Path, node: str, target: str) -> None:
    config = lab.status()["ssh_config"]
    subprocess.run(["scp", "-q", "-F", config, source, f"{node}:{target}"], check=True, timeout=120)

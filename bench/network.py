"""Nodes of a network of our own on this computer: namespaces, a switch, and slow cables.

::

    node0: eth0 ═══ port0 ─┐
    node1: eth0 ═══ port1 ─┤ switch
    node2: eth0 ═══ port2 ─┘
           tbf at both ends of each cable, one for each direction

Each node has a network and a host name, nothing else of its own: files and cores are
this computer's. Nothing connects the namespaces with other networks, so that no packet
can leave. They have no names that could be left over: each lasts as long as a process
in it, which waits for this one to end, however it ends, and ends all others in there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SUBNET = "10.78.0.0/24"
MOST_NODES = 16
TOOLS = ("ip", "tc", "nsenter", "unshare")
RATE = re.compile(r"([1-9][0-9]{0,3})(mbit|gbit)")
MBIT = {"mbit": 1, "gbit": 1000}
KILOBYTES_PER_MBIT = 0.128  # 1 Gbit/s: 128 kB, what passes in one tick of the kernel's timer
LEAST_BURST_KB = 16
LATENCY = "50ms"
READY_TIMEOUT_S = 20
# Runs a command in a node: mpirun calls it as it would call ssh, HOST first. nsenter leaves
# /sys alone; "ip netns exec" mounts it anew, and limits of CPU time then don't hold, silently.
AGENT = """\
#!/bin/sh
host=$1
shift
case $host in
{cases}
*) echo "no node $host" >&2; exit 255 ;;
esac
exec nsenter --target "$pid" --net --uts sh -c "$*"
"""

# Keeps a node's namespaces. Its input is closed when the harness is gone, even if that was killed;
# then it ends what runs in there, which would wait minutes for answers over cables that are gone.
KEEPER = """
hostname "$1" && ip link set lo up && echo ready && cat
own=$(readlink /proc/$$/ns/net)
exec 2>/dev/null  # the pipeline is among those that are ended, about which the shell complains
[ -n "$own" ] && [ "$own" != "$(readlink /proc/1/ns/net)" ] || exit 1  # only what is ours
find /proc -maxdepth 3 -path "/proc/[0-9]*/ns/net" -printf "%l %p\\n" |
    grep -F "$own /" | cut -d/ -f3 | grep -vx $$ | xargs -r kill -9
exit 0
"""


class NoNetwork(Exception):
    """The network of the benchmarks cannot be made here; says why in one line."""


@dataclass(frozen=True)
class Node:
    """A node: its name, its address, the process that keeps its namespaces."""

    name: str
    address: str
    pid: int

    def enter(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs ``words`` in this node."""
        return ["nsenter", "--target", str(self.pid), "--net", "--uts", *words]


@dataclass(frozen=True)
class Network:
    """Some nodes on one switch, and the files by which ``mpiexec`` finds them."""

    nodes: tuple[Node, ...]
    rates: tuple[str, ...]
    agent: Path
    hostfile: Path

    @property
    def launcher_options(self) -> list[str]:
        """Return what makes ``mpiexec``, started in the first node, use this network.

        On a cluster, Slurm and the role ``mpi`` see to the same.
        """
        return [
            "--hostfile", str(self.hostfile), "--prtemca", "plm_ssh_agent", str(self.agent),
            "--prtemca", "prte_if_include", SUBNET, "--mca", "btl_tcp_if_include", SUBNET,
            "--mca", "btl_tcp_disable_family", "6", "-n", str(len(self.nodes)),
        ]  # fmt: skip


def burst_kb(rate: str) -> int:
    """Return how many kilobytes a token bucket for ``rate``, as "100mbit", has to hold.

    Raises:
        NoNetwork: It is not a rate.
    """
    return max(LEAST_BURST_KB, round(mbit_per_s(rate) * KILOBYTES_PER_MBIT))


def mbit_per_s(rate: str) -> int:
    """Return a rate such as "100mbit" or "1gbit" as a number.

    Raises:
        NoNetwork: It is not a rate.
    """
    found = RATE.fullmatch(rate)
    if not found:
        raise NoNetwork(f"rate: {rate!r} must look like 100mbit or 1gbit")
    return int(found[1]) * MBIT[found[2]]


@contextmanager
def network(rates: Sequence[str], directory: Path) -> Iterator[Network]:
    """Give nodes with cables of these rates; ``directory`` is for the launcher's files.

    Raises:
        NoNetwork: This needs root, and programs that may be missing.
    """
    refuse_where_impossible(len(rates))
    shapes = [f"rate {rate} burst {burst_kb(rate)}kb latency {LATENCY}" for rate in rates]
    with ExitStack() as stack:
        switch = stack.enter_context(_namespaces("switch"))
        names = [f"node{number}" for number in range(len(rates))]
        pids = [stack.enter_context(_namespaces(name)) for name in names]
        _in(switch, "ip link add switch type bridge && ip link set switch up")
        nodes = []
        for number, (name, pid, shape) in enumerate(zip(names, pids, shapes, strict=True)):
            node = Node(name, f"10.78.0.{number + 1}", pid)
            _plug_in(switch, number, node, shape)
            nodes.append(node)
        agent, hostfile = directory / "agent", directory / "hosts"
        hostfile.write_text("".join(f"{name} slots=1\n" for name in names))
        cases = "\n".join(f"{node.name}) pid={node.pid} ;;" for node in nodes)
        agent.write_text(AGENT.format(cases=cases))
        agent.chmod(0o755)
        yield Network(tuple(nodes), tuple(rates), agent, hostfile)


def refuse_where_impossible(nodes: int) -> None:
    """Raise NoNetwork unless this process can make a network of so many nodes."""
    if not 1 <= nodes <= MOST_NODES:
        raise NoNetwork(f"nodes: {nodes} must be 1 to {MOST_NODES}")
    if os.geteuid() != 0:
        raise NoNetwork("making network namespaces needs root; run this as root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise NoNetwork(f"{', '.join(missing)} missing; apt install iproute2 util-linux")


@contextmanager
def _namespaces(name: str) -> Iterator[int]:
    """Keep a network and a host name alive, and give the process that does."""
    keeper = subprocess.Popen(
        ["unshare", "--net", "--uts", "sh", "-c", KEEPER, "keeper", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the harness, which ends it in its turn
    )
    try:
        if keeper.stdout is None or keeper.stdout.readline() != b"ready\n":
            raise NoNetwork(f"{name}: cannot make its namespaces; is this a container?")
        yield keeper.pid
    finally:
        keeper.communicate(timeout=READY_TIMEOUT_S)


def _plug_in(switch: int, number: int, node: Node, shape: str) -> None:
    """Lay a cable between a node and the switch."""
    _in(switch, f"ip link add port{number} type veth peer name eth0 netns {node.pid}")
    _in(switch, f"ip link set port{number} master switch up")
    _in(switch, f"tc qdisc add dev port{number} root tbf {shape}")
    _in(node.pid, f"ip address add {node.address}/24 dev eth0 && ip link set eth0 up")
    _in(node.pid, f"tc qdisc add dev eth0 root tbf {shape}")


def _in(pid: int, line: str) -> None:
    command = ["nsenter", "--target", str(pid), "--net", "sh", "-c", line]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoNetwork(f"{line}: {done.stderr.strip()[:200]}")

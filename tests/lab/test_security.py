"""What stands open, who may do what, and where the secrets are: looked at on every node."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY
from tests.lab.room import NODES, Room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.cluster import Cluster

SUBNET = "10.77.0.0/24"
OUTSIDE = "10.99.0.1"
ADDRESSES = {"head": "10.77.0.10", "node1": "10.77.0.11"}

# Says, for each port of its words, whether a connection is made, refused, or not answered.
KNOCK = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
address, source, *ports = sys.argv[1:]
def knock(port):
    with socket.socket() as knocking:
        knocking.settimeout(3)
        knocking.bind((source, 0))
        try:
            knocking.connect((address, int(port)))
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "silent"
        return "open"
with ThreadPoolExecutor(64) as pool:
    print(json.dumps(dict(zip(ports, pool.map(knock, ports)))))
"""
# Listens on every port of its words, until its input ends.
LISTEN = """
import socket, sys
kept = [socket.create_server(("0.0.0.0", int(port))) for port in sys.argv[1:]]
print("listening", flush=True)
sys.stdin.read()
"""


def documented_ports() -> dict[str, set[tuple[str, str]]]:
    """Return the (port, protocol) that docs/operations.md says the cluster's machines may reach."""
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    row = re.compile(r"^\| (all|head) \| [^|]+ \| ([\d-]+) (tcp|udp) \| ([^|]+) \|$", re.MULTILINE)
    found: dict[str, set[tuple[str, str]]] = {"head": set(), "node": set()}
    for where, port, protocol, who in row.findall(text):
        if who != "the head itself":
            found["head"].add((port, protocol))
            if where == "all":
                found["node"].add((port, protocol))
    return found


def knock(room: Room, address: str, source: str, ports: list[int]) -> dict[int, str]:
    """Try ports of a node from an address in the lab's network that is none of the nodes'."""
    told = subprocess.run(
        ["nsenter", f"--net=/run/netns/{room.namespace}", sys.executable, "-c", KNOCK,
         address, source, *map(str, ports)],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    return {int(port): answer for port, answer in json.loads(told).items()}


@pytest.fixture
def outside(untouched_cluster: Cluster) -> Iterator[str]:
    """An address outside the cluster's subnet, to which the nodes know the way."""
    room = untouched_cluster.room
    inside = ["nsenter", f"--net=/run/netns/{room.namespace}", "ip", "-json", "address"]
    told = subprocess.run(inside, capture_output=True, text=True, check=True).stdout
    bridge = next(
        card["ifname"]
        for card in json.loads(told)
        for entry in card["addr_info"]
        if entry["local"] == "10.77.0.1"
    )
    subprocess.run([*inside, "add", f"{OUTSIDE}/32", "dev", bridge], check=True)
    for node in NODES:
        room.on(node, f"sudo ip route add {OUTSIDE} via 10.77.0.1")
    yield OUTSIDE
    for node in NODES:
        room.on(node, f"sudo ip route del {OUTSIDE}")
    subprocess.run([*inside, "del", f"{OUTSIDE}/32", "dev", bridge], check=True)


def test_exports_name_the_subnet_and_squash_root(untouched_cluster: Cluster) -> None:
    told = untouched_cluster.host("head").run("exportfs -v").stdout
    exports = re.findall(r"^(/\S+)\s*(\S+?)\(([^)]*)\)", told.replace("\n\t", " "), re.MULTILINE)
    assert {path for path, _, _ in exports} == {"/home", "/opt/beowulf"}
    for path, client, options in exports:
        assert client == SUBNET, path
        assert "root_squash" in options.split(","), path
        assert "no_root_squash" not in options.split(","), path


def test_root_on_a_node_is_nobody_in_the_shared_files(untouched_cluster: Cluster) -> None:
    node = untouched_cluster.host("node1")
    assert node.run("touch /opt/beowulf/mine").rc != 0
    assert node.run("ls /home/ada").rc != 0


def test_the_munge_key_is_one_and_mungeds_alone(untouched_cluster: Cluster) -> None:
    hashes = set()
    for name in NODES:
        key = untouched_cluster.host(name).file("/etc/munge/munge.key")
        assert (key.mode, key.user, key.group) == (0o400, "munge", "munge"), name
        assert key.size >= 32
        hashes.add(key.sha256sum)
    assert len(hashes) == 1


def test_nobody_logs_in_by_password(untouched_cluster: Cluster) -> None:
    for name in NODES:
        told = untouched_cluster.host(name).run("sshd -T").stdout.splitlines()
        settings = dict(line.split(maxsplit=1) for line in told if " " in line)
        assert settings["passwordauthentication"] == "no", name
        assert settings["kbdinteractiveauthentication"] == "no", name
        assert settings["permitrootlogin"] in {"no", "without-password", "prohibit-password"}, name
        config = f"/var/lib/beowulf/labs/{untouched_cluster.room.name}/ssh_config"
        offered = subprocess.run(
            ["ssh", "-F", config, "-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes",
             "-o", "PreferredAuthentications=password,keyboard-interactive", name, "true"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Permission denied (publickey)" in offered.stderr, name


def test_accounts_have_no_password(untouched_cluster: Cluster) -> None:
    for name in NODES:
        shadow = untouched_cluster.host(name).file("/etc/shadow").content_string
        fields = {line.split(":")[0]: line.split(":")[1] for line in shadow.splitlines()}
        assert {"ada", "ben"} <= set(fields)
        assert [user for user, password in fields.items() if password[:1] not in {"!", "*"}] == []


def test_a_cluster_key_opens_nothing_from_outside(untouched_cluster: Cluster) -> None:
    for name in NODES:
        told = untouched_cluster.host(name).run("cat /etc/ssh/authorized_keys/ada").stdout
        assert f'from="{SUBNET}"' in told, name
    own = untouched_cluster.host("head").file("/home/ada/.ssh/id_ed25519")
    assert (own.mode, own.user) == (0o600, "ada")


def test_nothing_listens_that_the_documentation_does_not_list(untouched_cluster: Cluster) -> None:
    documented = documented_ports()
    for name in NODES:
        host = untouched_cluster.host(name)
        kind = "head" if name == "head" else "node"
        found = set()
        told = host.run("ss --no-header --listening --numeric --tcp --udp").stdout
        for line in told.splitlines():
            protocol, local = line.split()[0], line.split()[4]
            address, _, port = local.rpartition(":")
            if not address.startswith(("127.", "[::1]", "[::ffff:127.")):
                found.add((port, protocol))
        assert found <= documented[kind], name


def test_the_firewall_lets_in_what_the_documentation_lists(
    untouched_cluster: Cluster, outside: str
) -> None:
    room = untouched_cluster.room
    edges = [49999, 50000, 59999, 60000, 60999, 61000, 61500, 61999, 62000, 62999, 63000, 8080]
    for name in ("head", "node1"):
        kind = "head" if name == "head" else "node"
        documented = [port for port, protocol in documented_ports()[kind] if protocol == "tcp"]
        single = [int(port) for port in documented if "-" not in port]
        ranges = [tuple(map(int, port.split("-"))) for port in documented if "-" in port]
        assert ranges, "the ranges of MPI and srun are documented"
        words = " ".join(map(str, edges))
        with room.running(name, f"python3 -u -c '{LISTEN}' {words}") as listening:
            assert listening.stdout
            assert listening.stdout.readline() == "listening\n"
            ports = sorted({*edges, *single, 111, 2049, 3306, 6817, 6818, 6819, 9090, 9100})
            near = knock(room, ADDRESSES[name], "10.77.0.1", ports)
            far = knock(room, ADDRESSES[name], outside, ports)
        # From elsewhere: ssh, and to all else not even an answer.
        assert {port: answer for port, answer in far.items() if answer != "silent"} == {22: "open"}
        for port in ports:
            is_documented = port in single or any(low <= port <= high for low, high in ranges)
            expected = {"open"} if port in edges or port in single else {"refused"}
            assert near[port] in (expected if is_documented else {"silent"}), (name, port)


def test_secrets_are_in_no_process_list_and_no_log(untouched_cluster: Cluster) -> None:
    for name in NODES:
        host = untouched_cluster.host(name)
        key = host.run("base64 --wrap=0 /etc/munge/munge.key").stdout
        assert len(key) > 40
        journal = host.run("journalctl --no-pager --output cat; ps axww; env").stdout
        assert key not in journal
        assert "PRIVATE KEY" not in journal


def test_two_users_jobs_cannot_read_each_other(untouched_cluster: Cluster) -> None:
    for name in NODES:
        home = untouched_cluster.try_as_user("ben", name, "ls ~ada")
        assert home.returncode != 0, name
        assert "Permission denied" in home.stderr


def test_every_node_keeps_its_own_identity(untouched_cluster: Cluster) -> None:
    files = [untouched_cluster.host(name).file("/etc/machine-id") for name in NODES]
    assert len({file.content_string for file in files}) == len(NODES)

"""What a machine is, from the files in which the kernel and Debian tell it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import measure_node
import pytest

from tests.conftest import REPOSITORY

# As Ansible does, which puts our module_utils beside its own.
PLAYBOOKS = REPOSITORY / "playbooks"
RUN = f"""
import runpy
import ansible.module_utils
ansible.module_utils.__path__.append({str(PLAYBOOKS / "module_utils")!r})
runpy.run_path({str(PLAYBOOKS / "library" / "measure_node.py")!r}, run_name="__main__")
"""

V2 = {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}
V3 = V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ({"sse2", "ssse3"}, "x86-64-v1"),  # a Core 2: no SSE4.2
        (V2, "x86-64-v2"),
        (V3, "x86-64-v2"),  # no lzcnt
        (V3 | {"abm"}, "x86-64-v3"),
        (V3 | {"lzcnt"}, "x86-64-v3"),
        (V3 - {"popcnt"} | {"abm", "avx512f"}, "x86-64-v1"),  # a hole stops the climb
        (set(), "x86-64-v1"),
    ],
)
def test_a_processors_level_is_the_last_without_a_hole(flags: set[str], level: str) -> None:
    assert measure_node.level_of(flags) == level


@pytest.mark.parametrize(
    ("processors", "expected"),
    [
        ([(0, 0)], (1, 1, 1, 1)),
        ([(0, 0), (0, 1), (0, 2), (0, 3)], (4, 4, 1, 1)),  # four cores
        ([(0, 0), (0, 0), (0, 1), (0, 1)], (4, 2, 1, 2)),  # two cores with two threads
        ([(0, 0), (0, 1), (1, 0), (1, 1)], (4, 4, 2, 1)),  # two sockets
        ([(0, 0), (0, 0), (0, 1)], (2, 2, 1, 1)),  # cores that differ: one thread each
        ([(0, 0), (0, 1), (1, 0)], (3, 3, 1, 1)),  # sockets that differ: as if one
        ([], (1, 1, 1, 1)),  # a kernel that does not tell
    ],
)
def test_topology_multiplies_to_the_number_of_processors(
    processors: list[tuple[int, int]], expected: tuple[int, int, int, int]
) -> None:
    found = measure_node.topology(processors)
    assert (found["cpus"], found["cores"], found["sockets"], found["threads_per_core"]) == expected
    product = found["sockets"] * found["cores_per_socket"] * found["threads_per_core"]
    assert product == found["cpus"]


def test_processors_that_are_switched_off_do_not_count(tmp_path: Path) -> None:
    for number, online in ((0, None), (1, "1"), (2, "0")):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text("0\n")
        (folder / "core_id").write_text(f"{number}\n")
        if online:
            (folder.parent / "online").write_text(online)
    (tmp_path / "cpufreq").mkdir()
    assert sorted(measure_node.cores_of(str(tmp_path))) == [(0, 0), (0, 1)]


def card(name: str, *addresses: str) -> dict[str, Any]:
    entries = [
        {
            "family": "inet" if "." in address else "inet6",
            "local": address.split("/")[0],
            "prefixlen": int(address.split("/")[1]),
        }
        for address in addresses
    ]
    return {"ifname": name, "address": f"mac of {name}", "addr_info": entries}


CARDS = [
    card("lo", "127.0.0.1/8"),
    card("docker0", "172.17.0.1/16"),
    card("enp2s0", "fe80::1/64", "192.168.7.20/24"),
    card("enp3s0", "10.1.2.3/22"),
    card("down0"),
]


@pytest.mark.parametrize(
    ("address", "default", "interface", "subnet"),
    [
        ("10.1.2.3", "enp2s0", "enp3s0", "10.1.0.0/22"),  # the address it is called by
        ("closet.example", "enp2s0", "enp2s0", "192.168.7.0/24"),  # else the default route
        ("", "", "enp2s0", "192.168.7.0/24"),  # else the first real card, not docker's
    ],
)
def test_the_card_of_the_cluster_is_found(
    address: str, default: str, interface: str, subnet: str
) -> None:
    found = measure_node.card_of(CARDS, address, default)
    assert (found["interface"], found["subnet"]) == (interface, subnet)
    assert found["mac"] == f"mac of {interface}"


def test_a_machine_without_network_has_no_card() -> None:
    assert measure_node.card_of(CARDS[:1], "10.0.0.1", "") == {}


@pytest.mark.parametrize(("text", "mbit"), [("1000\n", 1000), ("-1\n", None), ("", None)])
def test_a_cards_speed_may_be_unknown(text: str, mbit: int | None) -> None:
    assert measure_node.speed_mbit(text) == mbit


def test_the_default_route_is_read() -> None:
    routes = (
        "Iface\tDestination\tGateway \tFlags\n"
        "eno1\t0000A8C0\t00000000\t0001\n"
        "eno2\t00000000\t0101A8C0\t0003\n"
    )
    assert measure_node.default_interface(routes) == "eno2"
    assert measure_node.default_interface(routes.splitlines()[0]) == ""


def test_other_files_are_read() -> None:
    assert measure_node.memory_mb("MemTotal:        1001928 kB\nMemFree: 5 kB") == 978
    assert measure_node.memory_mb("") == 0
    release = measure_node.assignments('# x=1\nID=debian\nVERSION_ID="13"\n\nodd\n')
    assert release == {"ID": "debian", "VERSION_ID": "13"}
    assert measure_node.field("flags\t: a b\nflags : c", "flags") == "a b"
    assert measure_node.field("", "flags") == ""


@pytest.mark.parametrize(
    ("found_mb", "known_mb", "settled_mb"),
    [(978, 0, 978), (978, 980, 980), (977, 978, 978), (2000, 978, 2000), (950, 1000, 950)],
)
def test_memory_is_the_same_when_the_kernel_took_a_little_more(
    found_mb: int, known_mb: int, settled_mb: int
) -> None:
    assert measure_node.settled_mb(found_mb, known_mb) == settled_mb


def test_host_keys_are_told_by_type(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text("ssh-ed25519 AAAA root@head\n")
    (tmp_path / "b.pub").write_text("")
    paths = [str(path) for path in tmp_path.glob("*.pub")]
    assert measure_node.host_keys(paths) == {"ssh-ed25519": "AAAA"}


def test_the_module_measures_this_computer() -> None:
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"asked_s": 0}})
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=arguments, capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout)
    if found.get("failed"):  # a computer without network
        assert found["msg"] == "no network card has an IPv4 address; look: ip address"
        return
    assert found["changed"] is False
    assert found["measured"]["memory_mb"] > 100
    assert found["measured"]["cpus"] >= 1
    assert found["now"]["clock_late_s"] < 0

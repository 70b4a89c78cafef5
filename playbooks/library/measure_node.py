#!/usr/bin/python
"""Ansible module: find out what a machine is, without changing anything on it."""

from __future__ import annotations

import glob
import ipaddress
import json
import platform
import pwd
import re
import shutil
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kernel_files import text_of

DOCUMENTATION = r"""
module: measure_node
short_description: Find out what a machine is, without changing anything on it
description:
  - Cores, memory, disk, network, Debian's release, host keys and accounts, from the files in which
    the kernel and Debian tell them. Takes one process more than Python itself, C(ip).
author: beowulf contributors
options:
  address:
    description:
      - The address by which it is called. If it is one of the machine's own, the network it is in
        is the cluster's; else the network of the default route is.
    type: str
    default: ""
  known_memory_mb:
    description:
      - How much memory it had before. The kernel's own part differs a little from boot to boot, so
        what is within 2 per cent of this counts as this.
    type: int
    default: 0
  asked_s:
    description: The clock of the computer that asks, in seconds since 1970, to compare with.
    type: float
    required: true
attributes:
  check_mode:
    description: Looks, as always.
    support: full
"""

EXAMPLES = r"""
- name: Find out what this machine is
  measure_node:
    address: "{{ ansible_host }}"
    asked_s: "{{ now().timestamp() }}"
"""

RETURN = r"""
measured:
  description:
    - What stays as it is between two runs. hostname, address, interface, mac, subnet, speed_mbit
      (null if the card does not tell), cpus (logical ones), cores, sockets, cores_per_socket,
      threads_per_core, cpu_model, cpu_level (such as x86-64-v2), architecture, memory_mb, disk_mb
      (of the root file system), distribution, release, codename, kernel, python, model,
      machine_id, host_keys (by type), accounts (user numbers by name).
  returned: always
  type: dict
now:
  description:
    - What does not. clock_late_s (by how much the clock is behind that of who asked; the time that
      the question took counts as being ahead), disk_free_mb.
  returned: always
  type: dict
"""

LEVELS = {  # https://gitlab.com/x86-psABIs/x86-64-ABI
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"},
    "x86-64-v3": {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
FIRST_PERSON, LAST_PERSON = 1000, 59999  # user numbers that Debian gives to people
VIRTUAL = re.compile(r"(lo|docker|br-|virbr|veth|vnet|tun|tap|wg|zt)")


def main() -> None:
    """Measure and say what was found."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": ""},
            "known_memory_mb": {"type": "int", "default": 0},
            "asked_s": {"type": "float", "required": True},
        },
        supports_check_mode=True,
    )
    told = module.run_command(["ip", "-json", "address", "show"], check_rc=True)[1]
    card = card_of(
        json.loads(told), module.params["address"], default_interface(text_of("/proc/net/route"))
    )
    if card is None:
        module.fail_json(msg="no network card has an IPv4 address; look: ip address")
    usage = shutil.disk_usage("/")
    release = assignments(text_of("/etc/os-release"))
    processors = text_of("/proc/cpuinfo")
    measured: dict[str, Any] = {
        "hostname": platform.node(),
        **card,
        "speed_mbit": speed_mbit(text_of(f"/sys/class/net/{card['interface']}/speed")),
        **topology(cores_of("/sys/devices/system/cpu")),
        "cpu_model": field(processors, "model name"),
        "cpu_level": level_of(set(field(processors, "flags").split())),
        "architecture": platform.machine(),
        "memory_mb": settled_mb(
            memory_mb(text_of("/proc/meminfo")), module.params["known_memory_mb"]
        ),
        "disk_mb": usage.total >> 20,
        "distribution": release.get("ID", ""),
        "release": release.get("VERSION_ID", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "kernel": platform.release(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "model": text_of("/sys/class/dmi/id/product_name").strip(),
        "machine_id": text_of("/etc/machine-id").strip(),
        "host_keys": host_keys(glob.glob("/etc/ssh/ssh_host_*_key.pub")),
        "accounts": {
            entry.pw_name: entry.pw_uid
            for entry in pwd.getpwall()
            if FIRST_PERSON <= entry.pw_uid <= LAST_PERSON
        },
    }
    late_s = module.params["asked_s"] - time.time()
    now = {"clock_late_s": round(late_s, 1), "disk_free_mb": usage.free >> 20}
    module.exit_json(changed=False, measured=measured, now=now)


def field(text: str, name: str) -> str:
    """Return the first value of ``name : value`` lines, as /proc/cpuinfo has them."""
    found = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def assignments(text: str) -> dict[str, str]:
    """Return the pairs of ``NAME=value`` lines, as /etc/os-release has them."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip("\"'") for name, equals, value in pairs if equals}


def memory_mb(meminfo: str) -> int:
    """Return how much memory the kernel has to give, in MiB, from /proc/meminfo."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found.group(1)) >> 10 if found else 0


def settled_mb(found_mb: int, known_mb: int) -> int:
    """Return what was known before if what is found is about the same."""
    return known_mb if abs(found_mb - known_mb) * 50 <= known_mb else found_mb


def speed_mbit(text: str) -> int | None:
    """Return the speed that a network card has agreed on; None if it does not tell."""
    digits = text.strip()
    return int(digits) if digits.isdecimal() and int(digits) > 0 else None


def level_of(flags: set[str]) -> str:
    """Return the highest level of x86-64 that a processor with these flags has."""
    found = "x86-64-v1"
    for level, needed in LEVELS.items():
        # Kernels name the same instructions "lzcnt" or "abm".
        if not needed <= flags | ({"abm"} if "lzcnt" in flags else set()):
            break
        found = level
    return found


def cores_of(directory: str) -> list[tuple[int, int]]:
    """Return the (socket, core) of each logical processor that is switched on."""
    found: list[tuple[int, int]] = []
    for path in glob.glob(f"{directory}/cpu[0-9]*"):
        package = text_of(f"{path}/topology/physical_package_id").strip()
        core = text_of(f"{path}/topology/core_id").strip()
        if text_of(f"{path}/online").strip() != "0":
            found.append((int(package or 0), int(core or len(found))))
    return found


def topology(processors: list[tuple[int, int]]) -> dict[str, int]:
    """Return sockets, cores and threads, in numbers whose product is right, as Slurm wants them.

    Where cores differ in their threads, each counts as one.
    """
    sockets = len({socket for socket, _ in processors}) or 1
    cores = len(set(processors)) or 1
    cpus = len(processors) or 1
    if cpus % cores:
        cpus = cores
    if cores % sockets:
        sockets = 1
    return {
        "cpus": cpus,
        "cores": cores,
        "sockets": sockets,
        "cores_per_socket": cores // sockets,
        "threads_per_core": cpus // cores,
    }


def default_interface(routes: str) -> str:
    """Return the network card of the default route, from /proc/net/route, or nothing."""
    for line in routes.splitlines()[1:]:
        words = line.split()
        if words[1] == "00000000":
            return words[0]
    return ""


def card_of(cards: list[dict[str, Any]], address: str, default: str) -> dict[str, str]:
    """Return interface, mac, address and subnet of the card that the cluster talks through.

    {} if there is none.

    Args:
        cards: What ``ip -json address show`` prints.
        address: The address by which the machine is called, perhaps not one of its own.
        default: The card of the default route, or nothing.
    """
    found = [
        {
            "interface": card["ifname"],
            "mac": card.get("address", ""),
            "address": entry["local"],
            "subnet": str(ipaddress.ip_interface(f"{entry['local']}/{entry['prefixlen']}").network),
        }
        for card in cards
        for entry in card.get("addr_info", [])
        if entry["family"] == "inet" and not ipaddress.ip_address(entry["local"]).is_loopback
    ]

    def fitness(card: dict[str, str]) -> tuple[bool, bool, bool]:
        name = card["interface"]
        return card["address"] == address, name == default, not VIRTUAL.match(name)

    return max(found, key=fitness, default={})


def host_keys(paths: list[str]) -> dict[str, str]:
    """Return the public host keys of sshd, by their types."""
    lines = (text_of(path).split() for path in sorted(paths))
    return {words[0]: words[1] for words in lines if len(words) > 1}


if __name__ == "__main__":
    main()

"""Jinja filter: everything that keeps some machines from becoming a cluster."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

CLOCK_TOLERANCE_S = 60
LEVELS = ("x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4")
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
RENEW_MACHINE_ID = "on all but one run: rm /etc/machine-id; systemd-machine-id-setup"
RESERVED_NAMES = {"localhost", "all", "ungrouped"}


class FilterModule:
    """The filters, for Ansible."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return the filters by their names."""
        return {"cluster_problems": cluster_problems}


def cluster_problems(
    machines: Iterable[Mapping[str, Any]],
    heads: Iterable[str],
    accounts: Iterable[Mapping[str, Any]],
    limits: Mapping[str, Any],
) -> list[str]:
    """Return, in sentences, all that is wrong with the machines of an inventory.

    Args:
        machines: Each with ``name``, ``call`` (the address by which it is called), ``measured``
            ({} if it never was), ``now`` (what was measured just now; {} if it was not reached)
            and ``played`` (whether this run is about it).
        heads: The names of the group of that name.
        accounts: The people that the inventory wants.
        limits: ``release``, ``cpu_level``, ``disk_free_mb``, ``memory_mb``.
    """
    machines = list(machines)
    known = [machine for machine in machines if machine["measured"]]
    found = [
        *head_problems(machines, list(heads)),
        *name_problems(machines),
        *twin_problems(machines, known),
        *(problem for machine in known for problem in hardware_problems(machine, limits)),
        *(problem for machine in machines for problem in state_problems(machine, limits)),
        *sameness_problems(known, list(heads)),
        *account_problems(known, list(accounts)),
    ]
    return list(dict.fromkeys(found))


def head_problems(machines: list[Mapping[str, Any]], heads: list[str]) -> Iterator[str]:
    """Say what is wrong with the head."""
    if not heads:
        yield "the inventory has no head; put one machine into the group `heads`"
    if len(heads) > 1:
        yield f"there can be one head only; the group `heads` has {', '.join(heads)}"
    for machine in machines:
        if machine["name"] in heads and not machine["now"]:
            if machine["played"]:
                yield f"{machine['name']}: the head can't be reached, and nothing goes without it"
            elif not machine["measured"]:
                yield (
                    f"{machine['name']}: the head was never measured; "
                    "run playbooks/site.yml without --limit first"
                )


def name_problems(machines: list[Mapping[str, Any]]) -> Iterator[str]:
    """Say which names can't be host names."""
    for machine in machines:
        name = str(machine["name"])
        if not HOST_NAME.fullmatch(name) or name in RESERVED_NAMES:
            yield (
                f"{name}: not a host name; use small letters, digits and hyphens in the inventory"
            )


def twin_problems(
    machines: list[Mapping[str, Any]], known: list[Mapping[str, Any]]
) -> Iterator[str]:
    """Say which machines are or look like one."""
    yield from twins(((m["call"], m["name"]) for m in machines), "the address {} in the inventory")
    for name, what in (
        ("machine_id", f"the machine-id {{}}; {RENEW_MACHINE_ID}"),
        ("address", "the address {}"),
        ("mac", "the network card {}"),
    ):
        yield from twins(((m["measured"].get(name), m["name"]) for m in known), what)
    keys = ((key, m["name"]) for m in known for key in m["measured"].get("host_keys", {}).values())
    shared = {tuple(names) for names in grouped(keys).values() if len(names) > 1}
    for names in sorted(shared):
        yield (
            f"{', '.join(names)} have the same ssh host key; on all but one run: "
            "rm /etc/ssh/ssh_host_*; dpkg-reconfigure openssh-server"
        )


def hardware_problems(machine: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[str]:
    """Say what a machine can't do, whatever its state."""
    name, measured = machine["name"], machine["measured"]
    if measured["distribution"] != "debian" or measured["release"] != limits["release"]:
        yield (
            f"{name}: runs {measured['distribution'] or 'an unknown system'} "
            f"{measured['release']}; install Debian {limits['release']}"
        )
    if measured["architecture"] != "x86_64":
        yield f"{name}: is a {measured['architecture']} machine; only x86_64 is supported"
    elif LEVELS.index(measured["cpu_level"]) < LEVELS.index(limits["cpu_level"]):
        yield (
            f"{name}: its processor ({measured['cpu_model']}) is {measured['cpu_level']}; NumPy "
            f"needs {limits['cpu_level']}; take the machine out of the inventory"
        )
    if measured["memory_mb"] < limits["memory_mb"]:
        yield f"{name}: has {measured['memory_mb']} MB of memory; {limits['memory_mb']} are needed"


def state_problems(machine: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with a machine today."""
    name, now = machine["name"], machine["now"]
    if not now:
        return
    late_s = float(now["clock_late_s"])
    if abs(late_s) > CLOCK_TOLERANCE_S:
        yield (
            f"{name}: its clock is {spoken(abs(late_s))} {'slow' if late_s > 0 else 'fast'}; "
            f"run: ansible -i INVENTORY {name} --become -m ansible.builtin.command "
            '-a "date --set @$(date +%s)"'
        )
    if now["disk_free_mb"] < limits["disk_free_mb"]:
        yield (
            f"{name}: {now['disk_free_mb']} MB are free on its disk; "
            f"{limits['disk_free_mb']} are needed"
        )


def sameness_problems(known: list[Mapping[str, Any]], heads: list[str]) -> Iterator[str]:
    """Say in what the machines differ that must be the same."""
    releases = grouped((m["measured"]["codename"], m["name"]) for m in known)
    if len(releases) > 1:
        parts = [f"{release} on {', '.join(names)}" for release, names in releases.items()]
        yield f"the machines run different releases: {'; '.join(parts)}; install one on all"
    for head in (m for m in known if m["name"] in heads[:1]):
        for machine in known:
            if machine["measured"]["subnet"] != head["measured"]["subnet"]:
                yield (
                    f"{machine['name']}: is in the network {machine['measured']['subnet']} and "
                    f"{head['name']} in {head['measured']['subnet']}; connect them with one "
                    "switch, or set measure_address to an address in the head's network"
                )


def account_problems(
    known: list[Mapping[str, Any]], accounts: list[Mapping[str, Any]]
) -> Iterator[str]:
    """Say where the people's names and numbers clash, with each other or with a machine's."""
    yield from twins(((a["name"], f"entry {i}") for i, a in enumerate(accounts, 1)),
                     "the name {} in users_accounts")  # fmt: skip
    yield from twins(((a["uid"], a["name"]) for a in accounts), "the uid {} in users_accounts")
    for machine in known:
        there = machine["measured"].get("accounts", {})
        owners = {uid: name for name, uid in there.items()}
        for account in accounts:
            name, uid = account["name"], int(account["uid"])
            if account.get("state", "present") == "absent":
                continue
            if there.get(name, uid) != uid:
                yield (
                    f"{machine['name']}: has {name} with uid {there[name]}, not {uid}; give "
                    f"{name} that uid in users_accounts, or remove the account there"
                )
            elif owners.get(uid, name) != name:
                yield (
                    f"{machine['name']}: uid {uid} is {owners[uid]}'s there; give {name} another "
                    "one in users_accounts"
                )


def twins(pairs: Iterable[tuple[Any, Any]], what: str) -> Iterator[str]:
    """Say which owners have the same value."""
    for value, owners in grouped(pairs).items():
        if value and len(owners) > 1:
            yield f"{', '.join(owners)} have the same: {what.format(value)}"


def grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list[str]]:
    """Return the owners by their values."""
    found: dict[Any, list[str]] = defaultdict(list)
    for value, owner in pairs:
        found[value].append(str(owner))
    return dict(found)


def spoken(seconds: float) -> str:
    """Return a length of time in the unit in which people would say it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"

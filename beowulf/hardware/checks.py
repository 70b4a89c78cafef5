"""What the head tells of itself and of every node, in one round trip, and what is wrong with it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf import __version__
from beowulf.errors import CommandFailed, one_line
from beowulf.hardware.findings import Finding, good, untried, wrong
from beowulf.hardware.nodes import slurm_trouble
from beowulf.job.slurm_nodes import NodeState, parse_nodes, trouble_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from beowulf.transport.connection import Connection

MARK = "@@nodes"
LEAST_ROOM_MB = 1024
MOST_CLOCK_S = 5.0  # between laptop and head: only times shown would be odd
TIMEOUT_S = 90
PACKAGES = "/opt/beowulf/venv/lib/python3*/site-packages"
SCRIPT = f"""\
export TZ=UTC LC_ALL=C
say() {{ printf '%s|%s\\n' "$1" "$2"; }}
say clock "$(date +%s.%N)"
for d in {PACKAGES}/beowulf-*.dist-info; do
  d=${{d##*/beowulf-}}; say beowulf "${{d%.dist-info}}"
done
say home "$HOME"
say home_type "$(stat -f -c %T "$HOME" 2>&1)"
say home_shared "$(cut -f 1 /var/lib/nfs/etab 2>&- | tr '\\n' ' ')"
say home_room_mb "$(df -m --output=avail "$HOME" 2>&- | tr -cd 0-9)"
if made=$(mktemp "$HOME/.beowulf-check.XXXXXX" 2>&1); then
  if echo x 2>&- > "$made"; then say home_writable yes; else say home_writable "no room left"; fi
  rm -f "$made"
else
  say home_writable "${{made##*: }}"
fi
if told=$(sinfo --noheader --format='partition|%P|%a|%D' 2>&1); then
  echo "$told"; echo {MARK}; scontrol show nodes --oneliner
else
  say slurm "$? $told"
fi
"""
STATES_WITH_REMEDY = {
    "off": "switch it on: ping {name}; then it comes back by itself",
    "not answering": "wait a minute, then look again: beowulf nodes",
    "down": "on the head: scontrol show node {name}; if it is well: "
    "sudo scontrol update nodename={name} state=resume",
    "drained": "when it is mended, on the head: sudo scontrol update nodename={name} state=resume",
    "draining": "its jobs may end, no new ones start; "
    "on the head: sudo scontrol update nodename={name} state=resume",
    "rebooting": "wait until it is back: beowulf nodes",
    "starting": "wait until it is there: beowulf nodes",
}
SITE = "run: ansible-playbook playbooks/site.yml"
ELSE = "on the head: scontrol show node {name}"


@dataclass(frozen=True)
class Partition:
    """One of Slurm's queues."""

    name: str
    is_up: bool
    node_count: str


@dataclass(frozen=True)
class Facts:
    """What the head told, and this computer's time before and after, in seconds since 1970."""

    values: dict[str, str]
    partitions: tuple[Partition, ...]
    nodes: tuple[NodeState, ...]
    asked_s: float = 0.0
    told_s: float = 0.0


def ask_facts(connection: Connection) -> Facts:
    """Return what the head tells of itself and its nodes.

    Raises:
        CommandFailed: It has no shell, or does not answer in time.
        Unreachable, AccessDenied: There is no way to it.
    """
    asked_s = time.time()
    done = connection.run(("sh", "-c", SCRIPT), timeout_s=TIMEOUT_S, check=False)
    if not re.search(r"^clock\|", done.output, re.MULTILINE):
        said = one_line((done.errors or done.output).strip()[-200:])
        raise CommandFailed(f"{connection.name}: no shell answers there: {said or 'nothing said'}")
    return parse_facts(done.output, asked_s, time.time())


def parse_facts(told: str, asked_s: float = 0.0, told_s: float = 0.0) -> Facts:
    """Return the facts in what the script printed; lines that make no sense are passed over."""
    general, _, nodes = told.partition(f"{MARK}\n")
    values: dict[str, str] = {}
    partitions = []
    for line in general.splitlines():
        key, bar, value = line.partition("|")
        if key == "partition":
            name, up, count = [*value.split("|"), "", ""][:3]
            partitions.append(Partition(one_line(name).rstrip("*"), up == "up", one_line(count)))
        elif bar:
            values.setdefault(key, one_line(value.strip()))
    return Facts(values, tuple(partitions), tuple(parse_nodes(nodes)), asked_s, told_s)


def judge(facts: Facts) -> list[Finding]:
    """Return what is right and wrong, from the laptop to each node."""
    return [
        _versions(facts.values),
        _clock(facts),
        *_home(facts.values),
        *_slurm(facts),
        *(_node(node) for node in facts.nodes),
    ]


def _versions(values: dict[str, str]) -> Finding:
    there = values.get("beowulf", "*")
    if "*" in there:  # the shell found no such file, and left the pattern
        return wrong("version", "beowulf is not installed on the cluster", SITE)
    if there != __version__:
        return wrong(
            "version",
            f"beowulf is {__version__} here and {there} on the cluster",
            f"here: pip install beowulf=={there}; or there: ansible-playbook playbooks/site.yml",
        )
    return good("version", f"beowulf is {there} here and on the cluster")


def _clock(facts: Facts) -> Finding:
    clock = facts.values.get("clock", "")
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", clock):
        return untried("clock", "the head does not tell the time")
    # Its clock was read some time between our two readings.
    apart_s = max(facts.asked_s - float(clock), float(clock) - facts.told_s, 0.0)
    if apart_s > MOST_CLOCK_S:
        words = f"the clocks here and on the head are {apart_s:,.0f} s apart"
        return wrong("clock", words, "see which one is wrong, with: date")
    return good("clock", f"the head's clock agrees with the one here, within {MOST_CLOCK_S:g} s")


def _home(values: dict[str, str]) -> Iterator[Finding]:
    home = values.get("home", "?")
    writable = values.get("home_writable", "")
    if writable == "yes":
        yield good("home", f"{home} can be written to")
    else:
        remedy = "delete what you don't need there, or ask who looks after the cluster"
        yield wrong("home", f"{home} can't be written to: {writable or 'no answer'}", remedy)
    if values.get("home_type", "").startswith("nfs") or _is_exported(values, home):
        yield good("share", f"{home} is shared with the nodes over NFS")
    else:
        yield wrong(
            "share",
            f"{home} is not shared with the nodes",
            f"put this user into the inventory and {SITE}",
        )
    room = values.get("home_room_mb", "")
    if not room.isdecimal():
        yield untried("room", f"how much room there is in {home} is not known")
    elif int(room) < LEAST_ROOM_MB:
        yield wrong("room", f"{home} has room for {room} MB only", "delete what you don't need")
    else:
        yield good("room", f"{home} has room for {int(room) // 1024:,} GB")


def _is_exported(values: dict[str, str], home: str) -> bool:
    exported = values.get("home_shared", "").split()
    return any(home == path or home.startswith(f"{path.rstrip('/')}/") for path in exported)


def _slurm(facts: Facts) -> Iterator[Finding]:
    silent = facts.values.get("slurm")
    if silent is not None:
        status, _, said = silent.partition(" ")
        words, _, remedy = slurm_trouble(said, int(status) if status.isdecimal() else 1).partition(
            "; "
        )
        yield wrong("slurm", words, remedy or "ask who looks after the cluster")
        return
    yield good("slurm", "Slurm answers")
    for partition in facts.partitions:
        if partition.is_up:
            words = f"its queue {partition.name} is open, with {partition.node_count} nodes"
            yield good("queue", words)
        else:
            yield wrong(
                "queue",
                f"its queue {partition.name} is closed",
                f"on the head: sudo scontrol update partition={partition.name} state=up",
            )
    if not facts.partitions:
        yield wrong("queue", "Slurm has no queue", SITE)
    if not facts.nodes:
        yield wrong("nodes", "Slurm names no nodes", SITE)


def _node(node: NodeState) -> Finding:
    if node.is_up:
        return good(node.name, f"{node.name} is {node.state}")
    remedy = STATES_WITH_REMEDY.get(node.state, ELSE).format(name=node.name)
    return wrong(node.name, trouble_in_words(node), remedy)


def free_nodes(nodes: Sequence[NodeState]) -> list[str]:
    """Return the names of the nodes that nothing runs on."""
    return [node.name for node in nodes if node.state == "free"]

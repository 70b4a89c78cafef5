"""What ``scontrol show nodes -o`` prints of each node, and what it means in plain words.

The head's program reads this too, so it needs nothing but Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from beowulf.errors import one_line

COMMAND = ("scontrol", "show", "nodes", "--oneliner")
MOST_NAMES = 10_000
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
UP = frozenset({"free", "partly busy", "busy", "finishing"})
BASES = {
    "IDLE": "free", "MIXED": "partly busy", "ALLOCATED": "busy", "COMPLETING": "finishing",
    "DOWN": "down", "ERROR": "down", "FUTURE": "not there yet", "UNKNOWN": "unknown",
}  # fmt: skip
# What a node is besides: the first that fits outweighs the rest of Slurm's words.
FLAGS = (
    ("REBOOT_ISSUED", "rebooting"),
    ("POWERING_UP", "starting"),
    ("POWERING_DOWN", "going to sleep"),
    ("POWERED_DOWN", "asleep"),
    ("FAIL", "failing"),
    ("INVALID_REG", "down"),
    ("MAINTENANCE", "in maintenance"),
    ("MAINT", "in maintenance"),
)
# Older releases say the same with one sign behind the state.
SIGNS = {"*": "NOT_RESPONDING", "~": "POWERED_DOWN", "#": "POWERING_UP", "%": "POWERING_DOWN",
         "@": "REBOOT_REQUESTED", "^": "REBOOT_ISSUED", "$": "MAINTENANCE"}  # fmt: skip
NODE = re.compile(r"(?:^|\s)NodeName=(\S+)")
FIELD = re.compile(r"(?:^|\s)(\w+)=(\S*)")
SIGNED = re.compile(r"^(.*?)\s*\[([^\[\]@]*)@([^\[\]@]*)\]")
RANGE = re.compile(r"^([^\[\]]*)\[([\d,-]+)\]([^\[\]]*)$")


@dataclass(frozen=True)
class NodeState:
    """One node as Slurm tells it. Times are ISO 8601 in UTC, or None."""

    name: str
    state: str
    """In plain words: ``free``, ``busy``, ``off``, ``drained``."""
    slurm_state: str
    cores_used: int
    cores: int
    memory_used_mb: int
    memory_mb: int
    load: float | None
    since: str | None
    reason: str
    reason_by: str

    @property
    def is_up(self) -> bool:
        """Say whether it works, or could when a job comes."""
        return self.state in UP


def parse_nodes(told: str, zone: tzinfo | None = UTC) -> list[NodeState]:
    """Return the nodes in ``scontrol``'s output; lines that are no nodes are passed over.

    Its times are those of ``zone``; None means this computer's own.
    """
    return [_node(line, zone) for line in told.splitlines() if NODE.match(line)]


def _node(line: str, zone: tzinfo | None) -> NodeState:
    # The reason is anybody's words and may look like fields, so it is cut off first.
    facts, _, rest = line.partition(" Reason=")
    fields = dict(FIELD.findall(facts))
    signed = SIGNED.match(rest)
    words, who, when = signed.groups() if signed else (rest, "", "")
    slurm_state = one_line(fields.get("State", "UNKNOWN"))
    state = plain_state(slurm_state)
    last_busy = _time(fields.get("LastBusyTime", ""), zone)
    return NodeState(
        name=one_line(fields["NodeName"]),
        state=state,
        slurm_state=slurm_state,
        cores_used=_whole(fields.get("CPUAlloc")),
        cores=_whole(fields.get("CPUTot")),
        memory_used_mb=_whole(fields.get("AllocMem")),
        memory_mb=_whole(fields.get("RealMemory")),
        load=_number(fields.get("CPULoad")),
        since=last_busy if state == "free" else _time(when, zone),
        reason=one_line(words.strip()),
        reason_by=one_line(who),
    )


def plain_state(slurm_state: str) -> str:
    """Return a node's state in plain words; one that is not known stays in Slurm's.

    >>> plain_state("DOWN+NOT_RESPONDING"), plain_state("ALLOCATED+DRAIN")
    ('off', 'draining')
    """
    base, *flags = slurm_state.upper().split("+")
    flags += [SIGNS[sign] for sign in base if sign in SIGNS]
    base = base.rstrip("*~#%@^$!-")
    for flag, words in FLAGS:
        if flag in flags:
            return words
    if "NOT_RESPONDING" in flags:
        return "off" if base == "DOWN" else "not answering"
    if base != "DOWN" and ("DRAIN" in flags or base in ("DRAINED", "DRAINING", "DRAIN")):
        is_working = base in ("ALLOCATED", "MIXED", "DRAINING") or "COMPLETING" in flags
        return "draining" if is_working else "drained"
    return BASES.get(base) or base.lower().replace("_", " ") or "unknown"


def trouble_in_words(node: NodeState, now: datetime | None = None) -> str:
    """Say in one sentence what is wrong with a node that is not up."""
    since = f" since {when_in_words(node.since, now)}" if node.since else ""
    why = node.reason if node.reason.lower() != "not responding" else ""
    by = f" by {node.reason_by}" if node.reason_by not in ("", "slurm", "root") else ""
    return f"{node.name} has been {node.state}{since}{by}{f' ({why})' if why else ''}"


def when_in_words(moment: str, now: datetime | None = None) -> str:
    """Return a moment as a person would say it, in this computer's time.

    It is the hour today, the weekday and the hour within a week, else the day and the hour.
    """
    then = datetime.fromisoformat(moment).astimezone()
    today = (now or datetime.now(UTC)).astimezone().date()
    hour = f"{then:%H:%M}"
    days = (today - then.date()).days
    if days == 0:
        return hour
    if 0 < days < 7:
        return f"{WEEKDAYS[then.weekday()]} {hour}"
    year = f" {then.year}" if then.year != today.year else ""
    return f"{MONTHS[then.month - 1]} {then.day}{year} {hour}"


def expand_names(names: str) -> list[str]:
    """Return the nodes that Slurm's short form stands for: ``head,node[1-3,7]``.

    At most 10,000; a part that makes no sense stays as it is.
    """
    found: list[str] = []
    for part in _split(names.strip()):
        match = RANGE.match(part)
        if match:
            found += [f"{match[1]}{number}{match[3]}" for number in _numbers(match[2])]
        elif part:
            found.append(part)
        if len(found) >= MOST_NAMES:
            break
    return found[:MOST_NAMES]


def _split(names: str) -> list[str]:
    """Split at the commas that stand outside brackets."""
    return re.findall(r"(?:[^,\[\]]|\[[^\]]*\]?|\])+", names)


def _numbers(ranges: str) -> list[str]:
    """Return the numbers of ``1-3,07``, with their leading zeros."""
    found: list[str] = []
    for part in ranges.split(","):
        first, dash, last = part.partition("-")
        if not dash:
            found.append(first)
        elif first.isdecimal() and last.isdecimal() and len(last) < 10:
            end = min(int(last), int(first) + MOST_NAMES)
            found += [str(n).zfill(len(first)) for n in range(int(first), end + 1)]
    return [number for number in found if number]


def _time(text: str, zone: tzinfo | None) -> str | None:
    """Return one of Slurm's times in UTC, or None where there is none (``None``, ``Unknown``)."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=zone) if moment.tzinfo is None and zone else moment
        return moment.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def _whole(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"[0-9]{1,15}", text) else 0


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else None

"""Read an Ansible inventory: a command that prints it, and a pure parser of what it printed.

Ansible itself reads the inventory, so that ranges, variables of groups, INI files and
plug-ins mean here what they mean to the playbooks.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from beowulf.cluster.node import Cluster, Node
from beowulf.errors import InvalidInput

PROGRAM = "ansible-inventory"
# What it may not be told by the user's own configuration: the output's form.
ENVIRONMENT = {
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_VERBOSITY": "0",
    "ANSIBLE_DEBUG": "false",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
    # A file that can't be read is refused by us, with its place; Ansible would not say where.
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "false",
}
# How Ansible warns that it goes on without a file, and why.
UNREAD = re.compile(r"Unable to parse (\S+) as an inventory source")
CAUSE = re.compile(r"YAML parsing failed: ([^.]+)\. .*?Origin: (\S+)")


def inventory_command(path: Path) -> list[str]:
    """Return the command that prints an inventory as JSON.

    Raises:
        InvalidInput: There is nothing at ``path``, or Ansible is not installed.
    """
    if not path.exists():
        raise InvalidInput(
            "--inventory", f"there is no {path}", "name a directory or file of an Ansible inventory"
        )
    beside = Path(sys.executable).with_name(PROGRAM)
    program = str(beside) if beside.exists() else shutil.which(PROGRAM)
    if program is None:
        raise InvalidInput(
            PROGRAM,
            "Ansible is not installed",
            "install it into beowulf's environment: pip install 'ansible-core>=2.18'",
        )
    return [program, "--inventory", str(path), "--list"]


def refuse_unread(warnings: str, source: str) -> None:
    """Refuse an inventory of which Ansible left out what it could not read.

    ``warnings`` is what it wrote to its standard error. It ends well as long as it could
    read one file of a directory.

    Raises:
        InvalidInput: A file could not be read; the message names it, and why if Ansible said so.
    """
    words = " ".join(warnings.split())
    unread = UNREAD.search(words)
    if unread:
        cause = CAUSE.search(words)
        why = f"Ansible cannot read it: {cause[1]} at {cause[2]}" if cause else "it is no inventory"
        raise InvalidInput(unread[1], why, f"mend it, then look at: {PROGRAM} -i {source} --list")


def parse_inventory(text: str, source: str) -> Cluster:
    """Return the cluster in the output of ``ansible-inventory --list``.

    ``source`` names the inventory in messages.

    Raises:
        InvalidInput: The text is not what Ansible prints, or it names no machine.
    """
    try:
        document = json.loads(text)
        variables: dict[str, dict[str, Any]] = document["_meta"]["hostvars"]
        groups: dict[str, dict[str, Any]] = {
            name: group for name, group in document.items() if name != "_meta"
        }
        members = {name: _hosts_below(name, groups) for name in groups}
        names = list(dict.fromkeys(host for hosts in members.values() for host in hosts))
        nodes = tuple(_node(name, dict(variables.get(name, {})), members) for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInput(
            source, "Ansible printed no inventory", f"look at: {PROGRAM} -i {source} --list"
        ) from None
    if not nodes:
        raise InvalidInput(source, "it names no machine", "add one under all.children")
    return Cluster(nodes)


def _hosts_below(name: str, groups: dict[str, dict[str, Any]]) -> list[str]:
    """Return the hosts of a group and of the groups in it, each once, in their order."""
    group = groups.get(name, {})
    found = _texts(group.get("hosts", []))
    for child in _texts(group.get("children", [])):
        found += _hosts_below(child, groups)
    return list(dict.fromkeys(found))


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return value.copy()


def _node(name: str, variables: dict[str, Any], members: dict[str, list[str]]) -> Node:
    groups = tuple(group for group, hosts in members.items() if name in hosts and group != "all")
    return Node(name, str(variables.get("ansible_host", name)), groups, variables)

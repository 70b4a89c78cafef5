#!/usr/bin/python
"""Ansible module: let a service of systemd run with the files it has now."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.whole_file import write_whole

DOCUMENTATION = r"""
module: settled_service
short_description: Let a service of systemd run with the files it has now
description:
  - Enables a service, starts it, and restarts it when the files that it reads have changed since
    this module last started it, which is kept in I(stamps).
  - A handler would do that too, but one that was notified is forgotten when a run is killed; the
    next run finds the files as they should be and the service goes on with what it read before.
  - Contents are compared, not times, since clocks of old machines can't be relied on.
author: beowulf contributors
options:
  name:
    description: The unit, with its ending.
    type: str
    required: true
  files:
    description: What the service reads when it starts; patterns are allowed. A missing file counts.
    type: list
    elements: str
    default: []
  inputs:
    description: Further text that must cause a restart when it changes.
    type: list
    elements: str
    default: []
  enabled:
    description: Whether it starts when the machine does.
    type: bool
    default: true
  state:
    description: Whether it runs.
    type: str
    choices: [started, stopped]
    default: started
  on_change:
    description: What makes it read its files again.
    type: str
    choices: [restart, reload]
    default: restart
  stamps:
    description: Where it is kept with which files each service was started.
    type: path
    default: /var/lib/beowulf/services
attributes:
  check_mode:
    description: Says what it would do. A unit that is not installed yet would be changed.
    support: full
"""

EXAMPLES = r"""
- name: Run the time service with this configuration
  settled_service:
    name: chrony.service
    files: [/etc/chrony/chrony.conf, "/etc/chrony/conf.d/*.conf"]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, such as enable, start, restart.
  returned: always
  type: list
  elements: str
"""

PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
RUNNING = ("active", "activating", "reloading")


def main() -> None:
    """Read the task's words, look, act, and say what was done."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "str", "default": []},
            "inputs": {"type": "list", "elements": "str", "default": []},
            "enabled": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "on_change": {"type": "str", "choices": ["restart", "reload"], "default": "restart"},
            "stamps": {"type": "path", "default": "/var/lib/beowulf/services"},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    unit: str = wanted["name"]
    stamp = os.path.join(wanted["stamps"], unit)
    found = properties(module, unit)
    if found["LoadState"] == "not-found" and module.check_mode:
        module.exit_json(changed=True, actions=["install"])
    digest = digest_of(wanted["files"], wanted["inputs"])
    actions = needed(wanted, found, digest, read(stamp))
    if not module.check_mode:
        act(module, unit, actions, stamp, digest)
    module.exit_json(changed=any(a != "daemon-reload" for a in actions), actions=actions)


def needed(
    wanted: dict[str, Any], found: dict[str, str], digest: str, known: str | None
) -> list[str]:
    """Return the words of systemctl that are needed, in their order.

    Args:
        wanted: The module's parameters.
        found: The unit's properties.
        digest: That of the files as they are.
        known: That of the files when the service was last started; None if it never was.
    """
    actions = ["daemon-reload"] if found["NeedDaemonReload"] == "yes" else []
    is_enabled = found["UnitFileState"] in ("enabled", "enabled-runtime", "static", "alias")
    if wanted["enabled"] and not is_enabled:
        actions.append("enable")
    if not wanted["enabled"] and found["UnitFileState"].startswith("enabled"):
        actions.append("disable")
    runs = found["ActiveState"] in RUNNING
    if wanted["state"] == "stopped":
        return actions + (["stop"] if runs else [])
    if digest != known:
        # A service that Debian started with its own files was never started by us.
        reload = wanted["on_change"] == "reload" and runs
        return [*actions, "reload" if reload else "restart"]
    return actions + ([] if runs else ["start"])


def digest_of(patterns: list[str], inputs: list[str]) -> str:
    """Return the sha256 of the names and contents of files, and of further texts."""
    parts: list[list[str]] = [["input", text] for text in inputs]
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)) or [pattern]:
            try:
                with open(path, "rb") as file:
                    parts.append([path, hashlib.sha256(file.read()).hexdigest()])
            except FileNotFoundError:
                parts.append([path, "missing"])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def properties(module: AnsibleModule, unit: str) -> dict[str, str]:
    """Return what systemd knows of a unit."""
    command = ["systemctl", "show", "--property", ",".join(PROPERTIES), unit]
    status, output, errors = module.run_command(command)
    if status != 0:
        module.fail_json(msg=f"{unit}: {errors.strip() or output.strip()}; is systemd running?")
    pairs = dict(line.partition("=")[::2] for line in output.splitlines())
    return {name: pairs.get(name, "") for name in PROPERTIES}


def act(module: AnsibleModule, unit: str, actions: list[str], stamp: str, digest: str) -> None:
    """Do what is needed. The stamp is written last: a run that is cut here restarts once more."""
    for action in actions:
        words = [action] if action == "daemon-reload" else [action, unit]
        status, output, errors = module.run_command(["systemctl", *words])
        if status != 0:
            said = (errors.strip() or output.strip()).splitlines()[0]
            journal = module.run_command(
                ["journalctl", "--unit", unit, "--lines", "5", "--output", "cat", "--no-pager"]
            )[1]
            module.fail_json(
                msg=f"{unit} can't {action}: {said}. Look: journalctl -u {unit}",
                journal=journal.splitlines(),
            )
    if {"start", "restart", "reload"} & set(actions):
        write(stamp, digest)


def read(path: str) -> str | None:
    """Return a file's text, or None if there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def write(path: str, text: str) -> None:
    """Write a file whole or not at all, readable by root alone."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    write_whole(path, text + "\n", mode=0o600)


if __name__ == "__main__":
    main()

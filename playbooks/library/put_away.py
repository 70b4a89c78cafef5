#!/usr/bin/python
"""Ansible module: stop units, and remove files, secrets and blocks of lines that were written."""

from __future__ import annotations

import glob
import os
import re
import shutil
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.whole_file import write_whole

DOCUMENTATION = r"""
module: put_away
short_description: Stop units, and remove files, secrets and blocks of lines
description:
  - The contrary of C(settled_service), C(settled_files) and C(ansible.builtin.blockinfile), for all
    that a role left on a machine, in one step. What is not there is no error.
author: beowulf contributors
options:
  units:
    description: Units of systemd to stop and to keep from starting at boot, with their endings.
    type: list
    elements: str
    default: []
  secrets:
    description: Files that are overwritten before they are removed; patterns are allowed.
    type: list
    elements: path
    default: []
  paths:
    description: Files, links and directories to remove; patterns are allowed.
    type: list
    elements: path
    default: []
  masks:
    description: Units to unmask.
    type: list
    elements: str
    default: []
  blocks:
    description: Files that stay, but lose the lines between two marks.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The file., type: path, required: true}
      begin: {description: The first mark., type: str, required: true}
      end: {description: The last mark., type: str, required: true}
  reloads:
    description: Units that read their files again if anything was removed, where they run.
    type: list
    elements: str
    default: []
  stamps:
    description: Where C(settled_service) keeps with which files a unit was started.
    type: path
    default: /var/lib/beowulf/services
attributes:
  check_mode:
    description: Says what it would do.
    support: full
"""

EXAMPLES = r"""
- name: Stop munged and forget the cluster's key
  put_away:
    units: [munge.service]
    secrets: [/etc/munge/munge.key]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, such as "stop munge.service".
  returned: always
  type: list
  elements: str
"""

UNITS = "/etc/systemd/system"
INACTIVE = ("", "inactive", "failed")


def main() -> None:
    """Read the task's words, look, act, and say what was done."""
    block = {name: {"type": "str", "required": True} for name in ("begin", "end")}
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "secrets": {"type": "list", "elements": "path", "default": [], "no_log": False},
            "paths": {"type": "list", "elements": "path", "default": []},
            "masks": {"type": "list", "elements": "str", "default": []},
            "blocks": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": {"type": "path", "required": True}, **block},
            },
            "reloads": {"type": "list", "elements": "str", "default": []},
            "stamps": {"type": "path", "default": "/var/lib/beowulf/services"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    actions = []
    for word, names in states(module, wanted["units"]).items():
        if names:
            actions += [f"{word} {name}" for name in names]
            systemctl(module, [word, *names])
    # Without its stamp, a service that comes back is started with its new files.
    stamps = [os.path.join(wanted["stamps"], unit) for unit in wanted["units"]]
    for word, path in [
        *(("wipe", path) for path in found(wanted["secrets"])),
        *(("remove", path) for path in [*found(wanted["paths"]), *found(stamps)]),
    ]:
        actions.append(f"{word} {path}")
        if not module.check_mode:
            (wipe if word == "wipe" else remove)(path)
    for lines in wanted["blocks"]:
        if without_block(module, lines["path"], lines["begin"], lines["end"]):
            actions.append(f"remove lines of {lines['path']}")
    masked = [unit for unit in wanted["masks"] if is_masked(unit)]
    if masked:
        actions += [f"unmask {unit}" for unit in masked]
        systemctl(module, ["unmask", *masked])
    if any(action.startswith(f"remove {UNITS}") for action in actions):
        systemctl(module, ["daemon-reload"])
    if actions and wanted["reloads"]:
        systemctl(module, ["try-reload-or-restart", *wanted["reloads"]])
    module.exit_json(changed=bool(actions), actions=actions)


def states(module: AnsibleModule, units: list[str]) -> dict[str, list[str]]:
    """Return which units are to be disabled and which to be stopped."""
    if not units:
        return {}
    command = ["systemctl", "show", "--property", "Id,UnitFileState,ActiveState", *units]
    told = module.run_command(command)[1]
    disable, stop = [], []
    for unit, paragraph in zip(units, told.strip().split("\n\n"), strict=False):
        words = dict(line.partition("=")[::2] for line in paragraph.splitlines())
        if words.get("UnitFileState", "").startswith("enabled"):
            disable.append(unit)
        if words.get("ActiveState", "") not in INACTIVE:
            stop.append(unit)
    return {"disable": disable, "stop": stop}


def is_masked(unit: str) -> bool:
    """Return whether nothing may start a unit."""
    path = os.path.join(UNITS, unit)
    return os.path.islink(path) and os.readlink(path) == "/dev/null"


def found(patterns: list[str]) -> list[str]:
    """Return what there is, dangling links included."""
    paths: list[str] = []
    for pattern in patterns:
        hits = sorted(glob.glob(pattern, include_hidden=True))
        paths += hits or [path for path in [pattern] if os.path.lexists(path)]
    return list(dict.fromkeys(paths))


def wipe(path: str) -> None:
    """Overwrite a file on its disk, as far as the disk lets one, and remove it."""
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        with open(path, "r+b") as file:
            file.write(bytes(status.st_size))
            file.flush()
            os.fsync(file.fileno())
    remove(path)


def remove(path: str) -> None:
    """Remove a file, a link or a directory with all that is in it."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def without_block(module: AnsibleModule, path: str, begin: str, end: str) -> bool:
    """Remove the lines between two marks, and these, from a file; return whether there were any."""
    try:
        with open(path, encoding="utf-8") as file:
            before = file.read()
    except FileNotFoundError:
        return False
    # Between a mark that lost its end and the next one are lines of somebody else.
    begin, end = re.escape(begin), re.escape(end)
    pattern = rf"^{begin}\n(?:(?!{begin}$).*\n)*?{end}(?:\n|\Z)"
    after = re.sub(pattern, "", before, flags=re.MULTILINE)
    if after != before and not module.check_mode:
        write_whole(path, after)
    return after != before


def systemctl(module: AnsibleModule, arguments: list[str]) -> None:
    """Run systemctl, and fail with what it said if it did. Not in check mode."""
    if module.check_mode:
        return
    status, output, errors = module.run_command(["systemctl", *arguments])
    if status != 0:
        module.fail_json(msg=f"systemctl {arguments[0]}: {errors.strip() or output.strip()}")


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: let several files have the contents they ought to have, in one step."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.whole_file import sync_directory, write_whole

DOCUMENTATION = r"""
module: settled_files
short_description: Let several files have the contents they ought to have, in one step
description:
  - Writes files, each whole or not at all, and removes those of its own that are no longer wanted.
  - On old and on virtual machines an Ansible task takes seconds, whatever it does. A role's files
    are therefore one task, and the number of tasks does not grow with the number of users.
author: beowulf contributors
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where., type: path, required: true}
      content: {description: What is in it., type: str}
      link:
        description: >-
          Instead of content; what it is a symbolic link to. It must exist or be one of I(files).
        type: str
      mode: {description: The file's permissions., type: str, default: "0644"}
      owner: {description: Whose it is., type: str, default: root}
      group: {description: Whose group's it is., type: str, default: root}
      check:
        description: A command that must succeed first, with %s for a file of that content.
        type: str
      optional:
        description: Whether to leave it out where its directory is missing.
        type: bool
        default: false
  only:
    description:
      - Directories, root's own, in which each other file is removed that begins as I(marker) says.
    type: list
    elements: path
    default: []
  marker:
    description: How the first line of a file begins that was written by us.
    type: str
    default: "#\n# Ansible managed"
attributes:
  check_mode:
    description: Says what it would do.
    support: full
  diff_mode:
    description: Shows both contents.
    support: full
"""

EXAMPLES = r"""
- name: Write what everybody must know
  settled_files:
    files:
      - {path: /etc/hosts, content: "{{ lookup('ansible.builtin.template', 'hosts.j2') }}"}
      - {path: /etc/localtime, link: /usr/share/zoneinfo/Etc/UTC}
"""

RETURN = r"""
paths:
  description: What was written or removed, or in check mode would be.
  returned: always
  type: list
  elements: str
"""


def main() -> None:
    """Look at all files, check the new ones, then write."""
    suboptions = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str"},
        "link": {"type": "str"},
        "mode": {"type": "str", "default": "0644"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "check": {"type": "str"},
        "optional": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": suboptions,
                "required_one_of": [("content", "link")],
                "mutually_exclusive": [("content", "link")],
            },
            "only": {"type": "list", "elements": "path", "default": []},
            "marker": {"type": "str", "default": "#\n# Ansible managed"},
        },
        supports_check_mode=True,
    )
    files: list[dict[str, Any]] = [f for f in module.params["files"] if not left_out(f)]
    paths = {file["path"] for file in files}
    stale = unwanted(module.params["only"], module.params["marker"], paths)
    changed = [file for file in files if present(file["path"]) != wanted(file)]
    for file in changed:
        target = target_of(file)
        if target and target not in paths and not os.path.exists(target):
            module.fail_json(msg=f"{file['path']}: there is no {target}. Nothing was changed")
        if problem := refused(file, check_mode=module.check_mode):
            module.fail_json(msg=f"{file['path']}: {problem}. Nothing was changed")
    if not module.check_mode:
        for directory in module.params["only"]:
            os.makedirs(directory, mode=0o755, exist_ok=True)
        for file in changed:
            write(file)
        for path in stale:
            os.remove(path)
    module.exit_json(
        changed=bool(changed or stale),
        paths=[file["path"] for file in changed] + stale,
        diff=[difference(file) for file in changed]
        + [{"before_header": path, "after": ""} for path in stale],
    )


def left_out(file: dict[str, Any]) -> bool:
    """Return whether this machine has no use for the file."""
    return file["optional"] and not os.path.isdir(os.path.dirname(file["path"]))


def target_of(file: dict[str, Any]) -> str:
    """Return where a link leads; empty if the file is to be none."""
    beside = os.path.dirname(file["path"])
    return os.path.normpath(os.path.join(beside, file["link"])) if file["link"] else ""


def unwanted(directories: list[str], marker: str, paths: set[str]) -> list[str]:
    """Return the files in our directories that we once wrote and that nobody wants now."""
    found = []
    for directory in directories:
        for entry in sorted(os.scandir(directory) if os.path.isdir(directory) else [], key=str):
            is_other = entry.path not in paths and entry.is_file(follow_symlinks=False)
            if is_other and text_of(entry.path).startswith(marker):
                found.append(entry.path)
    return found


def present(path: str) -> tuple[str, ...]:
    """Return what is there, to be compared with what is wanted."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ("nothing",)
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return ("other",)
    mode = oct(stat.S_IMODE(status.st_mode))
    return ("file", text_of(path), mode, str(status.st_uid), str(status.st_gid))


def wanted(file: dict[str, Any]) -> tuple[str, ...]:
    """Return what ought to be there, in the same words."""
    if file["link"]:
        return ("link", file["link"])
    owner, group = numbers(file)
    return ("file", file["content"], oct(int(file["mode"], 8)), str(owner), str(group))


def numbers(file: dict[str, Any]) -> tuple[int, int]:
    """Return whose the file ought to be; -1 for who is not there (yet, in check mode)."""
    try:
        return pwd.getpwnam(file["owner"]).pw_uid, grp.getgrnam(file["group"]).gr_gid
    except KeyError:
        return -1, -1


def refused(file: dict[str, Any], *, check_mode: bool) -> str:
    """Return why the file can't be written as it is wanted; empty if it can."""
    if present(file["path"]) == ("other",):
        return "is neither a file nor a link; move it away"
    if file["link"]:
        return ""
    if numbers(file)[0] < 0 and not check_mode:
        return f"there is no user {file['owner']} or no group {file['group']}"
    if not file["check"]:
        return ""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as trial:
        trial.write(file["content"])
        trial.flush()
        command = [word.replace("%s", trial.name) for word in file["check"].split()]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "" if check_mode else f"there is no {command[0]}"
    said = (answer.stderr.strip() or answer.stdout.strip()).replace(trial.name, file["path"])
    return f"{command[0]} refuses it: {said}" if answer.returncode else ""


def write(file: dict[str, Any]) -> None:
    """Put a file in its place, whole."""
    path = file["path"]
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    if not file["link"]:
        write_whole(path, file["content"], mode=int(file["mode"], 8), owner=numbers(file))
        return
    with tempfile.TemporaryDirectory(dir=directory, prefix=".new-") as beside:
        os.symlink(file["link"], os.path.join(beside, "link"))
        os.replace(os.path.join(beside, "link"), path)
    sync_directory(directory)


def difference(file: dict[str, Any]) -> dict[str, str]:
    """Return what --diff shows."""
    before, after = present(file["path"]), wanted(file)
    header = file["path"]
    if before[:2] == after[:2]:  # the same text: it is about permissions
        before, after = (before[0], f"{before[2:]}\n"), (after[0], f"{after[2:]}\n")
    return {
        "before_header": header,
        "after_header": header,
        "before": before[1] if len(before) > 1 else "",
        "after": after[1],
    }


def text_of(path: str) -> str:
    """Return a file's text; what is not UTF-8, and how lines end, is kept distinguishable."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: exactly these directories of the head, mounted now and at every boot."""

from __future__ import annotations

import filecmp
import platform
import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.whole_file import write_whole

DOCUMENTATION = r"""
module: nfs_mounts
short_description: Have exactly these NFS mounts, now and at every boot
description:
  - Keeps a block of its own in /etc/fstab, mounts what stands in it, and unmounts what no longer
    does. Lines of other people are left alone.
  - Refuses, before it changes anything, where a local directory holds files that a mount would
    hide. What useradd copied there from /etc/skel does not count.
  - What was to be unmounted is unmounted before the file is written, and what is to be mounted is
    looked at each time, so that a run that was cut is made whole by the next one.
author: beowulf contributors
options:
  server:
    description: The server's address.
    type: str
    required: true
  mounts:
    description: Directories that are mounted now and at boot.
    type: list
    elements: path
    default: []
  automounts:
    description: Directories that are mounted when somebody first looks into them.
    type: list
    elements: path
    default: []
  options:
    description: Mount options of all.
    type: str
    required: true
  mount_options:
    description: Further options of those under I(mounts).
    type: str
    required: true
  automount_options:
    description: Further options of those under I(automounts).
    type: str
    required: true
  wait_s:
    description: How long to wait for the server, in seconds, before saying that it does not answer.
    type: int
    default: 60
attributes:
  check_mode:
    description: Says what it would do.
    support: full
  diff_mode:
    description: Shows the lines of /etc/fstab.
    support: full
"""

EXAMPLES = r"""
- name: Have the head's directories under the same names
  nfs_mounts:
    server: 192.0.2.1
    mounts: [/opt/beowulf]
    automounts: [/home/ada]
    options: vers=4.2,hard,_netdev,nofail
    mount_options: bg
    automount_options: x-systemd.automount,x-systemd.mount-timeout=30s
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, such as "unmount /home/ada".
  returned: always
  type: list
  elements: str
"""

FSTAB = Path("/etc/fstab")
BEGIN = "# BEGIN beowulf: directories of the head, written by Ansible"
END = "# END beowulf"
SKELETON = Path("/etc/skel")
# What timeout(1) ends with when it had to end the command.
TIMED_OUT = 124


def main() -> None:
    """Read the task's words, look, refuse or act, and say what was done."""
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "mounts": {"type": "list", "elements": "path", "default": []},
            "automounts": {"type": "list", "elements": "path", "default": []},
            "options": {"type": "str", "required": True},
            "mount_options": {"type": "str", "required": True},
            "automount_options": {"type": "str", "required": True},
            "wait_s": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    wanted = lines_wanted(module.params)
    before = FSTAB.read_text(encoding="utf-8")
    if is_broken(before):
        module.fail_json(
            msg=f"{platform.node()}: in {FSTAB} the lines {BEGIN!r} and {END!r} are not one pair; "
            "mend that, or remove them and what is between. Nothing was changed"
        )
    after = with_block(before, list(wanted.values()))
    mounted = mount_points(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    refuse_to_hide(module, [path for path in wanted if path not in mounted])

    outdated = [path for line, path in directories(block_of(before)) if line != wanted.get(path)]
    actions = [f"unmount {path}" for path in outdated if path in mounted]
    actions += [f"write {FSTAB}"] if after != before else []
    if not module.check_mode:
        for path in outdated:
            unmount(module, path)
        if after != before:
            write_whole(FSTAB, after)
        # Also where a run was cut between the file and this line.
        systemctl(module, ["daemon-reload"])
    automounts = [unit_of(path) + ".automount" for path in module.params["automounts"]]
    mounts = [unit_of(path) + ".mount" for path in module.params["mounts"]]
    missing = inactive(module, automounts + mounts)
    actions += [f"start {unit}" for unit in missing]
    if missing and not module.check_mode:
        start(module, missing)
    module.exit_json(
        changed=bool(actions),
        actions=actions,
        diff={"before": before, "after": after, "before_header": "fstab", "after_header": "fstab"},
    )


def lines_wanted(words: dict[str, Any]) -> dict[str, str]:
    """Return the line of /etc/fstab for each directory."""
    options = dict.fromkeys(words["mounts"], words["mount_options"])
    options |= dict.fromkeys(words["automounts"], words["automount_options"])
    server, common = words["server"], words["options"]
    return {
        path: f"{server}:{escaped(path)} {escaped(path)} nfs4 {common},{more} 0 0"
        for path, more in options.items()
    }


def escaped(path: str) -> str:
    """Return a path as it stands in /etc/fstab, where blanks end a word."""
    return re.sub(r"[\s\\]", lambda m: f"\\{ord(m[0]):03o}", path)


def unescaped(word: str) -> str:
    """Return the path that a word of /etc/fstab or of mountinfo is."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), word)


def directories(block: list[str]) -> list[tuple[str, str]]:
    """Return the lines of our block that mount something, each with its directory."""
    words = [(line, line.split()) for line in block if not line.lstrip().startswith("#")]
    return [(line, unescaped(fields[1])) for line, fields in words if len(fields) > 1]


def is_broken(table: str) -> bool:
    """Return whether somebody took a part of our block: then it is not known what is ours."""
    marks = [line for line in table.splitlines() if line in (BEGIN, END)]
    return marks not in ([], [BEGIN, END])


def block_of(table: str) -> list[str]:
    """Return the lines of our block in the text of /etc/fstab; none if there is no block."""
    lines = table.splitlines()
    return lines[lines.index(BEGIN) + 1 : lines.index(END)] if BEGIN in lines else []


def with_block(table: str, block: list[str]) -> str:
    """Return the text of /etc/fstab with this as our block, at its end if it had none.

    Where nothing is mounted there is no block, as before the first time.
    """
    lines = table.splitlines()
    ours = [BEGIN, *block, END] if block else []
    if BEGIN in lines:
        lines[lines.index(BEGIN) : lines.index(END) + 1] = ours
    elif ours:
        lines += ours
    else:
        return table
    return "".join(f"{line}\n" for line in lines)


def mount_points(mountinfo: str) -> set[str]:
    """Return the directories that something is mounted on, or waits to be, without a look there.

    To look would wait for a server that is off.
    """
    points = (line.split()[4] for line in mountinfo.splitlines())
    return {unescaped(point) for point in points}


def refuse_to_hide(module: AnsibleModule, paths: list[str]) -> None:
    """Fail, naming the directories, if local files would be hidden by mounts."""
    full = [path for path in paths if own_files(Path(path))]
    if full:
        module.fail_json(
            msg=f"{platform.node()}: files in {', '.join(full)} would be hidden by the head's "
            "directory of that name; move them to the head, or away"
        )


def own_files(directory: Path) -> list[str]:
    """Return the names in a directory that useradd did not copy there."""
    if not directory.is_dir():
        return []
    return [
        path.name
        for path in directory.iterdir()
        if not ((SKELETON / path.name).is_file() and filecmp.cmp(path, SKELETON / path.name))
    ]


def unmount(module: AnsibleModule, path: str) -> None:
    """Take a directory's mount away, at the latest when the last program has left it."""
    unit = unit_of(path)
    module.run_command(["systemctl", "stop", f"{unit}.automount", f"{unit}.mount"])
    # Whoever still uses it must not keep everybody else from having the new one.
    while path in mount_points(Path("/proc/self/mountinfo").read_text(encoding="utf-8")):
        status, _, errors = module.run_command(["umount", "--lazy", path])
        if status != 0:
            module.fail_json(msg=f"{platform.node()}: {path} can't be unmounted: {errors.strip()}")


def inactive(module: AnsibleModule, units: list[str]) -> list[str]:
    """Return those units that don't run."""
    if not units:
        return []
    told = module.run_command(["systemctl", "is-active", *units])[1].split()
    return [unit for unit, state in zip(units, told, strict=True) if state != "active"]


def start(module: AnsibleModule, units: list[str]) -> None:
    """Start units; a mount whose server does not answer is said, and goes on trying."""
    # One that failed often is otherwise not tried again.
    systemctl(module, ["reset-failed", *units], may_fail=True)
    wait_s, server = module.params["wait_s"], module.params["server"]
    status, _, errors = module.run_command(["timeout", str(wait_s), "systemctl", "start", *units])
    if status == TIMED_OUT:
        module.fail_json(
            msg=f"{platform.node()}: {server} did not answer for {wait_s} s; its directories are "
            "mounted by themselves as soon as it does. Is the head on?"
        )
    if status != 0:
        module.fail_json(msg=f"{platform.node()}: {errors.strip()}")


def unit_of(path: str) -> str:
    """Return the name, without ending, that systemd gives to a mount on this directory."""
    plain = re.compile(rb"[A-Za-z0-9:_.]")
    text = path.strip("/").encode()
    name = ""
    for place, byte in enumerate(text):
        character = bytes([byte])
        if character == b"/":
            name += "-"
        elif plain.match(character) and not (character == b"." and place == 0):
            name += character.decode()
        else:
            name += f"\\x{byte:02x}"
    return name


def systemctl(module: AnsibleModule, arguments: list[str], *, may_fail: bool = False) -> None:
    """Run systemctl, and fail with what it said if it did."""
    status, output, errors = module.run_command(["systemctl", *arguments])
    if status != 0 and not may_fail:
        module.fail_json(msg=f"systemctl {arguments[0]}: {errors.strip() or output.strip()}")


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: units of systemd that nothing may start."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: masked_units
short_description: Stop units of systemd, and let nothing start them again
description:
  - Masks all units named and stops those that run, in one go.
  - A unit that is not installed is masked as well, so that a package that brings it later does
    not start it.
author: beowulf contributors
options:
  names:
    description: The units, with their endings.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Says what it would do.
    support: full
"""

EXAMPLES = r"""
- name: Keep the helpers of older NFS away
  masked_units:
    names: [rpcbind.socket, rpcbind.service]
"""

RETURN = r"""
masked:
  description: The units that were masked, or in check mode would be.
  returned: always
  type: list
  elements: str
stopped:
  description: The units that were stopped, or in check mode would be.
  returned: always
  type: list
  elements: str
"""


def main() -> None:
    """Read the task's words, look, act, and say what was done."""
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    names: list[str] = module.params["names"]
    found = states(run(module, ["show", "--property", "Id,UnitFileState,ActiveState", *names]))
    mask = [name for name in names if found.get(name, ("", ""))[0] != "masked"]
    stop = [n for n in names if found.get(n, ("", ""))[1] not in ("", "inactive", "failed")]
    if not module.check_mode:
        # Masked first: otherwise a socket that is still there starts its service again.
        if mask:
            run(module, ["mask", *mask])
        if stop:
            run(module, ["stop", *stop])
    module.exit_json(changed=bool(mask or stop), masked=mask, stopped=stop)


def states(told: str) -> dict[str, tuple[str, str]]:
    """Return whether a file enables each unit, and whether it runs, from `systemctl show`."""
    found = {}
    for paragraph in told.split("\n\n"):
        words = dict(line.partition("=")[::2] for line in paragraph.splitlines())
        if "Id" in words:
            found[words["Id"]] = (words.get("UnitFileState", ""), words.get("ActiveState", ""))
    return found


def run(module: AnsibleModule, arguments: list[str]) -> str:
    """Run systemctl, and fail with what it said if it did."""
    status, output, errors = module.run_command(["systemctl", *arguments])
    if status != 0:
        module.fail_json(msg=f"systemctl {arguments[0]}: {errors.strip() or output.strip()}")
    return str(output)


if __name__ == "__main__":
    main()

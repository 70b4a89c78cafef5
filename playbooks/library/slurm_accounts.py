#!/usr/bin/python
"""Ansible module: give people an account in Slurm's accounting, once."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: slurm_accounts
short_description: Give people an account in Slurm's accounting, once
description:
  - Reads what there is with one command, then adds what lacks of the cluster, the account, and the
    people in it. Removes nobody; who left keeps his history.
author: beowulf contributors
options:
  cluster:
    description: The cluster's name, as in slurm.conf.
    type: str
    required: true
  account:
    description: The account that the people compute on.
    type: str
    required: true
  users:
    description: The people's names.
    type: list
    elements: str
    required: true
  timeout_s:
    description: How long to wait for a slurmdbd that was just started, in seconds.
    type: int
    default: 120
attributes:
  check_mode:
    description: Says what it would add.
    support: full
"""

EXAMPLES = r"""
- name: Give everybody a share of the cluster
  slurm_accounts:
    cluster: beowulf
    account: people
    users: [ada, bob]
"""

RETURN = r"""
added:
  description: What was added, or in check mode would be, as words for sacctmgr.
  returned: always
  type: list
  elements: list
"""

READ = ("--noheader", "--parsable2", "show", "associations", "format=cluster,account,user")


def main() -> None:
    """Read, add what lacks, and say what was added."""
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "account": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "str", "required": True},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    found = read(module, wanted["timeout_s"])
    lacking = needed(found, wanted["cluster"], wanted["account"], wanted["users"])
    for words in [] if module.check_mode else lacking:
        status, output, errors = module.run_command(["sacctmgr", "--immediate", *words])
        if status != 0:
            module.fail_json(msg=f"sacctmgr {' '.join(words)}: {(errors or output).strip()}")
    module.exit_json(changed=bool(lacking), added=lacking)


def read(module: AnsibleModule, timeout_s: int) -> str:
    """Return the associations that there are; wait for a slurmdbd that makes its tables."""
    deadline = time.monotonic() + timeout_s
    while True:
        status, output, errors = module.run_command(["sacctmgr", *READ])
        if status == 0:
            return str(output)
        if time.monotonic() > deadline:
            module.fail_json(
                msg=f"slurmdbd does not answer: {errors.strip()}. Look: journalctl -u slurmdbd"
            )
        time.sleep(1)


def needed(found: str, cluster: str, account: str, users: list[str]) -> list[list[str]]:
    """Return what must be added, as words for sacctmgr, in their order.

    Args:
        found: Lines of cluster|account|user, as sacctmgr prints them.
        cluster: The cluster's name.
        account: The account's name.
        users: The names of those who should be in it.
    """
    rows = {tuple(line.strip().split("|")) for line in found.splitlines() if line.strip()}
    lacking = []
    if not any(row[0] == cluster for row in rows):
        lacking.append(["add", "cluster", cluster])
    if (cluster, account, "") not in rows:
        lacking.append(["add", "account", account, f"cluster={cluster}", f"description={account}"])
    missing = [user for user in users if (cluster, account, user) not in rows]
    if missing:
        names = ",".join(missing)
        lacking.append(["add", "user", names, f"account={account}", f"cluster={cluster}"])
    return lacking


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: let people have accounts with given numbers, all of them in one step."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import re
import shutil
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: settled_accounts
short_description: Let people have accounts with given numbers, all of them in one step
description:
  - Makes, mends and removes accounts with C(useradd), C(usermod) and C(userdel). Each has a private
    group of the same name and number, and no password.
  - Looks at all of them first. If one can't be made as it is wanted, none is touched.
author: beowulf contributors
options:
  accounts:
    description: The people.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: What the account is called., type: str, required: true}
      uid: {description: Its number and that of its group., type: int, required: true}
      full_name: {description: Whose it is., type: str, default: ""}
      shell: {description: The login shell., type: path, default: /bin/bash}
      state:
        description: Whether it is there.
        type: str
        choices: [present, absent]
        default: present
  homes:
    description:
      - Whether this machine owns the homes. It makes them, with mode 0700, and in each a pair of
        ssh keys for use within the cluster. On other machines homes are never touched.
    type: bool
    default: false
  remove_homes:
    description: Whether the home of an account that goes is deleted, where homes are owned.
    type: bool
    default: false
  homes_directory:
    description: Where the homes are.
    type: path
    default: /home
attributes:
  check_mode:
    description: Says what it would do.
    support: full
"""

EXAMPLES = r"""
- name: Make the accounts
  settled_accounts:
    accounts: [{name: ada, uid: 2001, full_name: Ada Lovelace}]
    homes: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in words.
  returned: always
  type: list
  elements: str
keys:
  description: The public keys for use within the cluster, by account; only where homes are owned.
  returned: always
  type: dict
"""

KEY_TYPE = "ssh-ed25519"
LEAST_NUMBER = 1000
KEYS_S = 60
MAKE_KEYS = """
set -e
umask 077
cd "$1"
mkdir -p .ssh
key=.ssh/id_ed25519
if [ ! -e $key ]; then
    rm -f $key $key.pub
    exec ssh-keygen -q -t ed25519 -N '' -C "$2@cluster" -f $key
fi
rm -f $key.new
ssh-keygen -y -P '' -f $key > $key.new
mv -fT $key.new $key.pub
"""


def main() -> None:
    """Look at all accounts, refuse if one can't be, then act."""
    account = {
        "name": {"type": "str", "required": True},
        "uid": {"type": "int", "required": True},
        "full_name": {"type": "str", "default": ""},
        "shell": {"type": "path", "default": "/bin/bash"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    module = AnsibleModule(
        argument_spec={
            "accounts": {"type": "list", "elements": "dict", "required": True, "options": account},
            "homes": {"type": "bool", "default": False},
            "remove_homes": {"type": "bool", "default": False},
            "homes_directory": {"type": "path", "default": "/home"},
        },
        supports_check_mode=True,
    )
    wanted = [complete(a, module.params["homes_directory"]) for a in module.params["accounts"]]
    staying = [account for account in wanted if account["state"] == "present"]
    homes: bool = module.params["homes"]
    problems = [*twins(wanted), *(p for a in wanted for p in impossible(a))]
    problems += [p for a in staying for p in problems_of(a, homes=homes)]
    if problems:
        module.fail_json(msg="No account was changed: " + "; ".join(problems))
    actions: list[str] = []
    for account in wanted:
        if account["state"] == "absent":
            actions += remove(module, account)
        else:
            actions += make(module, account)
            if homes:
                actions += make_home(module, account)
    keys = {a["name"]: public_key(a) for a in staying} if homes else {}
    module.exit_json(
        changed=bool(actions),
        actions=actions,
        keys={name: key for name, key in keys.items() if key},
        diff={"prepared": "".join(f"{action}\n" for action in actions)},
    )


def complete(account: dict[str, Any], homes: str) -> dict[str, Any]:
    """Return an account with its home."""
    return {**account, "home": os.path.join(homes, account["name"])}


def twins(accounts: list[dict[str, Any]]) -> list[str]:
    """Return which names are said twice, and which numbers are wanted twice."""
    problems = []
    for field, states in (("name", ("present", "absent")), ("uid", ("present",))):
        values = [account[field] for account in accounts if account["state"] in states]
        double = {value for value in values if values.count(value) > 1}
        problems += [f"the {field} {value} is said twice" for value in sorted(double)]
    return problems


def impossible(account: dict[str, Any]) -> list[str]:
    """Return why the words for an account make no sense on any machine."""
    name, number = account["name"], account["uid"]
    problems = []
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", name):
        problems.append(f"{name!r} is no name for an account")
    if number < LEAST_NUMBER:
        problems.append(f"the number {number} of {name} is below {LEAST_NUMBER}")
    # What separates fields and lines of /etc/passwd.
    bad = [f for f in ("full_name", "shell") if re.search(r"[:\x00-\x1f\x7f]", account[f])]
    return problems + [f"the {f} of {name} has a colon or a control character" for f in bad]


def problems_of(account: dict[str, Any], *, homes: bool) -> list[str]:
    """Return why an account can't be on this machine as it is wanted."""
    name, number = account["name"], account["uid"]
    problems = []
    found, holder = user(name), user(number)
    if found and found.pw_uid != number:
        problems.append(f"{name} has the number {found.pw_uid} here, not {number}")
    if holder and holder.pw_name != name:
        problems.append(f"the number {number} of {name} is {holder.pw_name}'s here")
    group, holding = group_of(name), group_of(number)
    if group and group.gr_gid != number:
        problems.append(f"the group {name} has the number {group.gr_gid} here, not {number}")
    if holding and holding.gr_name != name:
        problems.append(f"the group number {number} of {name} is {holding.gr_name}'s here")
    if homes and os.path.lexists(account["home"]):
        owner = os.lstat(account["home"]).st_uid
        if owner != number:
            problems.append(f"{account['home']} belongs to the number {owner}, not {number}")
        if not os.path.isdir(account["home"]):
            problems.append(f"{account['home']} is no directory")
    return problems


def user(key: str | int) -> pwd.struct_passwd | None:
    """Return the account of a name or number."""
    try:
        return pwd.getpwnam(key) if isinstance(key, str) else pwd.getpwuid(key)
    except KeyError:
        return None


def group_of(key: str | int) -> grp.struct_group | None:
    """Return the group of a name or number."""
    try:
        return grp.getgrnam(key) if isinstance(key, str) else grp.getgrgid(key)
    except KeyError:
        return None


def make(module: AnsibleModule, account: dict[str, Any]) -> list[str]:
    """Make or mend an account and its group; return what was done."""
    name, number = account["name"], str(account["uid"])
    actions = []
    if not group_of(name):
        run(module, ["groupadd", "--gid", number, name])
        actions.append(f"made the group {name} ({number})")
    wanted = {"comment": account["full_name"], "home": account["home"], "shell": account["shell"]}
    found = user(name)
    options = [f"--{option}={value}" for option, value in wanted.items()]
    if not found:
        options = [o.replace("--home=", "--home-dir=") for o in options]
        numbers = [f"--uid={number}", f"--gid={number}"]
        run(module, ["useradd", "--no-create-home", *numbers, *options, name])
        return [*actions, f"made the account {name} ({number})"]
    has = {"comment": found.pw_gecos, "home": found.pw_dir, "shell": found.pw_shell}
    if has != wanted or found.pw_gid != account["uid"]:
        run(module, ["usermod", f"--gid={number}", *options, name])
        actions.append(f"mended the account {name}")
    return actions


def make_home(module: AnsibleModule, account: dict[str, Any]) -> list[str]:
    """Make a home, by another name first so that a half one is never taken for whole, and keys."""
    name, number, home = account["name"], account["uid"], account["home"]
    actions = []
    if not os.path.isdir(home):
        actions.append(f"made {home}")
        if not module.check_mode:
            half = f"{os.path.dirname(home)}/.{name}.new"
            shutil.rmtree(half, ignore_errors=True)
            os.mkdir(half, 0o700)
            run(module, ["cp", "--archive", "/etc/skel/.", half])
            run(module, ["chown", "--recursive", "--no-dereference", f"{number}:{number}", half])
            os.chmod(half, 0o700)
            os.rename(half, home)
    elif stat.S_IMODE(os.stat(home).st_mode) & 0o077:
        actions.append(f"closed {home} to others")
        if not module.check_mode:
            os.chmod(home, 0o700)
    if not public_key(account):
        actions += make_keys(module, account)
    return actions


def make_keys(module: AnsibleModule, account: dict[str, Any]) -> list[str]:
    """Make a pair of ssh keys, or the public one again; return what was done.

    As the user, who owns the place and could have put anything there. Nothing that a user did
    keeps the others from their accounts: no profile of his is read, and it takes no longer than
    it may.
    """
    name, home = account["name"], account["home"]
    command = ["timeout", f"--kill-after={KEYS_S}", str(KEYS_S), "runuser", f"--user={name}", "--"]
    command += ["/bin/sh", "-c", MAKE_KEYS, "sh", home, name]
    if not module.check_mode:
        _, output, errors = module.run_command(command, expand_user_and_vars=False)
        if not public_key(account):
            said = (errors.strip() or output.strip() or "no reason was given").splitlines()[-1]
            module.warn(f"{name} has no ssh key for the cluster: {said}. Look: {home}/.ssh")
            return []
    return [f"made ssh keys for {name}"]


def remove(module: AnsibleModule, account: dict[str, Any]) -> list[str]:
    """Remove an account, but never one that only has the same name; return what was done."""
    name, home = account["name"], account["home"]
    actions = []
    found = user(name)
    if found and found.pw_uid == account["uid"]:
        run(module, ["userdel", name])
        actions.append(f"removed the account {name}")
        found = None if module.check_mode else user(name)
    # Most often userdel has done that.
    group = None if module.check_mode and actions else group_of(name)
    if group and group.gr_gid == account["uid"] and not found:
        run(module, ["groupdel", name])
        actions.append(f"removed the group {name}")
    owned = module.params["homes"] and module.params["remove_homes"] and os.path.isdir(home)
    if owned and not os.path.islink(home) and os.lstat(home).st_uid == account["uid"]:
        actions.append(f"deleted {home}")
        if not module.check_mode:
            shutil.rmtree(home)
    return actions


def public_key(account: dict[str, Any]) -> str:
    """Return the public key in a home; empty if there is none that is one.

    The user may have put anything in its place, so only what has the form of a key is told.
    """
    path = os.path.join(account["home"], ".ssh", "id_ed25519.pub")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return ""
    with os.fdopen(handle, encoding="utf-8", errors="replace") as file:
        words = file.read(1000).split()
    try:
        key = base64.b64decode(words[1], validate=True)
    except (IndexError, ValueError):
        return ""
    is_key = words[0] == KEY_TYPE and key[4:15] == KEY_TYPE.encode() and len(key) == 51
    return f"{KEY_TYPE} {words[1]}" if is_key else ""


def run(module: AnsibleModule, command: list[str]) -> None:
    """Run a command, but in check mode; fail with what it said."""
    if module.check_mode:
        return
    status, output, errors = module.run_command(command, expand_user_and_vars=False)
    if status != 0:
        said = (errors.strip() or output.strip()).replace("\n", "; ")
        module.fail_json(msg=f"{command[0]} failed: {said}")


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: have the cluster's munge key on a machine, making it once."""

from __future__ import annotations

import base64
import binascii
import os
import pwd
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.whole_file import write_whole

DOCUMENTATION = r"""
module: munge_key
short_description: Have the cluster's munge key on a machine, making it once
description:
  - Without I(content), makes a key from the kernel's random numbers where there is none, and gives
    it back. With I(content), puts that key in place of whatever is there.
  - Also sets the key's and its directory's owner and mode. The key is written whole or not at all.
  - The key travels inside the module, which Ansible sends through ssh's standard input. Set
    C(no_log) on the task that registers it.
author: beowulf contributors
options:
  content:
    description: The key in base64, as another machine's I(key).
    type: str
  path:
    description: Where munged reads it.
    type: path
    default: /etc/munge/munge.key
  owner:
    description: The account that munged runs as; the group of that account owns as well.
    type: str
    default: munge
attributes:
  check_mode:
    description: >-
      Says what it would do, also where munge is not installed. Gives no key if there is none.
    support: full
"""

EXAMPLES = r"""
- name: Make the cluster's key where there is none
  munge_key:
  delegate_to: head
  register: munge_cluster
  no_log: true

- name: Put the cluster's key there
  munge_key:
    content: "{{ munge_cluster.key }}"
  no_log: true
"""

RETURN = r"""
key:
  description: The key, in base64. Empty in check mode if there is none.
  returned: without content
  type: str
written:
  description:
    - Which writing of the file this is; another after each. A munged that somebody started with
      another key goes on with that one, also when the file is again as it was.
  returned: always
  type: str
"""

LEAST_BYTES = 32  # munged refuses shorter ones: munge.h, MUNGE_KEY_LEN_MIN_BYTES
MADE_BYTES = 128  # what mungekey makes


def main() -> None:
    """Look, write what lacks, and say what was done."""
    module = AnsibleModule(
        argument_spec={
            "content": {"type": "str", "no_log": True},
            "path": {"type": "path", "default": "/etc/munge/munge.key"},
            "owner": {"type": "str", "default": "munge"},
        },
        supports_check_mode=True,
    )
    path: str = module.params["path"]
    found = usable(read(path))
    given = module.params["content"]
    try:
        wanted = decoded(given) if given else found
    except ValueError as error:
        module.fail_json(msg=f"content: {error}")
    changed = wanted is None or found != wanted
    if wanted is None and not module.check_mode:
        wanted = os.urandom(MADE_BYTES)
    if not module.check_mode:
        owner = pwd.getpwnam(module.params["owner"])
        if changed and wanted is not None:
            write(path, wanted, owner.pw_uid, owner.pw_gid)
        settled = settle(os.path.dirname(path), owner.pw_uid, owner.pw_gid, 0o700)
        settled = settle(path, owner.pw_uid, owner.pw_gid, 0o400) or settled
        changed = changed or settled
    result: dict[str, Any] = {"changed": changed, "written": written(path)}
    if not given:
        result["key"] = base64.b64encode(wanted or b"").decode()
    module.exit_json(**result)


def decoded(text: str) -> bytes:
    """Return a key from its base64. Raises ValueError if it can't be one."""
    try:
        key = usable(base64.b64decode(text, validate=True))
    except binascii.Error:
        key = None
    if key is None:
        raise ValueError(f"this is no munge key in base64 of at least {LEAST_BYTES} bytes")
    return key


def usable(key: bytes | None) -> bytes | None:
    """Return the key if it is one; a power cut may have left an empty file, or a wiped one."""
    return key if key is not None and len(key) >= LEAST_BYTES and any(key) else None


def read(path: str) -> bytes | None:
    """Return a file's bytes, or None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def written(path: str) -> str:
    """Return what changes when a file is written, even with the same bytes; empty without one."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{status.st_ino} {status.st_mtime_ns}"


def write(path: str, key: bytes, uid: int, gid: int) -> None:
    """Write the key whole or not at all; nobody else can read it at any time."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    write_whole(path, key, mode=0o400, owner=(uid, gid))


def settle(path: str, uid: int, gid: int, mode: int) -> bool:
    """Set owner and mode; return whether they were others."""
    status = os.stat(path)
    if (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (uid, gid, mode):
        return False
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    return True


if __name__ == "__main__":
    main()

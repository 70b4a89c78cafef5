#!/usr/bin/python
"""Ansible module: have a virtual environment with exactly the wheels that are given."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.whole_file import write_whole

DOCUMENTATION = r"""
module: virtual_environment
short_description: Have a virtual environment with exactly the wheels that are given
description:
  - Each set of wheels gets an environment of its own under I(store), and I(path) is a link to it
    that is turned over when the new one is complete. A job that is starting meanwhile finds
    either the old one or the new one, never a half.
  - The one before is kept for the jobs that still run in it; older ones are removed.
  - pip is the one that comes with Python's venv, run once, without an index.
author: beowulf contributors
options:
  path:
    description: The link by which the environment is found.
    type: path
    required: true
  store:
    description: Where the environments are, and in wheels/ what they are made from.
    type: path
    required: true
  fingerprint:
    description: Name of the environment; changes with the wheels.
    type: str
    required: true
  wheels:
    description: The files, each with its name and sha256.
    type: list
    elements: dict
    required: true
  stage:
    description: Whether to look which files are missing in the store, or to install from it.
    type: str
    choices: [compare, install]
    required: true
attributes:
  check_mode:
    description: Says what it would do.
    support: full
"""

EXAMPLES = r"""
- name: Install the wheels
  virtual_environment:
    path: /opt/beowulf/venv
    store: /opt/beowulf/venvs
    fingerprint: 0f83a1
    wheels:
      - {name: click-8.5.1-py3-none-any.whl, sha256: 6c58}
    stage: install
"""

RETURN = r"""
complete:
  description: Whether the environment is there and the link shows it.
  returned: always
  type: bool
missing:
  description: Names of the files that must be copied into wheels/ of the store first.
  returned: when stage is compare
  type: list
  elements: str
"""

PIP = "/usr/share/python-wheels/pip-*.whl"  # what ensurepip installs, on Debian
KEPT = "installed.json"  # written last, inside the environment


def main() -> None:
    """Look, and install if asked to."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "store": {"type": "path", "required": True},
            "fingerprint": {"type": "str", "required": True},
            "wheels": {"type": "list", "elements": "dict", "required": True},
            "stage": {"type": "str", "choices": ["compare", "install"], "required": True},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    home = os.path.join(wanted["store"], wanted["fingerprint"])
    installed = os.path.exists(os.path.join(home, KEPT))
    complete = installed and shows(wanted["path"], home)
    if wanted["stage"] == "compare":
        files = os.path.join(wanted["store"], "wheels")
        missing = [] if installed else missing_files(files, wanted["wheels"])
        module.exit_json(changed=False, complete=complete, missing=missing)
    if not complete and not module.check_mode:
        os.umask(0o022)
        if not installed:
            install(module, wanted, home)
        turn(wanted["path"], home)
        clear(wanted, home)
    module.exit_json(changed=not complete, complete=not module.check_mode)


def shows(link: str, home: str) -> bool:
    """Tell whether a link leads to an environment."""
    return os.path.islink(link) and os.readlink(link) == relative(link, home)


def relative(link: str, home: str) -> str:
    """Return what the link holds: the way from it, so that the share may be mounted anywhere."""
    return os.path.relpath(home, os.path.dirname(link))


def missing_files(directory: str, wheels: list[dict[str, str]]) -> list[str]:
    """Return the names of the wheels that are not there with the right contents."""
    missing = []
    for wheel in wheels:
        try:
            with open(os.path.join(directory, wheel["name"]), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            digest = ""
        if digest != wheel["sha256"]:
            missing.append(wheel["name"])
    return missing


def install(module: AnsibleModule, wanted: dict[str, Any], home: str) -> None:
    """Make the environment anew; what a run that was cut left of it is removed."""
    files = os.path.join(wanted["store"], "wheels")
    missing = missing_files(files, wanted["wheels"])
    if missing:
        module.fail_json(msg=f"{files} lacks {', '.join(missing)}; copy them there first")
    pips = sorted(glob.glob(PIP))
    if not pips:
        module.fail_json(msg=f"{PIP}: no such file; install Debian's package python3-venv")
    if os.path.exists(home):
        shutil.rmtree(home)
    # Installing pip into it would take as long as all the rest.
    run(module, ["/usr/bin/python3", "-m", "venv", "--without-pip", home])
    pip = [os.path.join(home, "bin/python"), os.path.join(pips[-1], "pip")]
    pip += ["install", "--quiet", "--no-index", "--no-cache-dir", "--disable-pip-version-check"]
    # Compiled now, since users can't write there: else each start would compile again.
    run(module, [*pip, "--compile", *(os.path.join(files, w["name"]) for w in wanted["wheels"])])
    os.sync()  # all of it is on the disk before the mark that says so
    write_whole(os.path.join(home, KEPT), json.dumps(wanted["wheels"], indent=1), mode=0o644)


def run(module: AnsibleModule, command: list[str]) -> None:
    """Run a program, and end with its last words if it fails."""
    status, out, err = module.run_command(command)
    if status != 0:
        lines = [line for line in (out + err).splitlines() if line]
        said = lines[-1] if lines else f"it ended with {status}"
        module.fail_json(msg=f"making the environment failed: {said}", lines=lines[-30:])


def turn(link: str, home: str) -> None:
    """Let the link show the environment, from one moment to the next."""
    new = link + ".new"
    if os.path.lexists(new):
        os.unlink(new)
    os.symlink(relative(link, home), new)
    os.utime(home)  # the youngest, even if it was made long ago
    os.replace(new, link)


def clear(wanted: dict[str, Any], home: str) -> None:
    """Remove the wheels that are not used, and all environments but this and the one before."""
    store = wanted["store"]
    names = {wheel["name"] for wheel in wanted["wheels"]}
    for path in glob.glob(os.path.join(store, "wheels", "*")):
        if os.path.basename(path) not in names:
            os.unlink(path)
    others = [path for path in glob.glob(os.path.join(store, "*")) if path != home]
    others = [path for path in others if os.path.basename(path) != "wheels"]
    whole = [path for path in others if os.path.exists(os.path.join(path, KEPT))]
    before = max(whole, key=os.path.getmtime, default="")
    for path in others:
        if path != before:
            shutil.rmtree(path)


if __name__ == "__main__":
    main()

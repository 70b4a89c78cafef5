#!/usr/bin/python
"""Ansible module: gather the wheels of an environment in a directory of the controller."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: wheelhouse
short_description: Gather the wheels of an environment in a directory of the controller
description:
  - Builds the wheel of the project in I(project) and downloads those of everything that it needs,
    and of I(libraries), for another machine's Python. Machines without internet can then be
    given the files.
  - What was gathered once for the same words is used again, without asking the network, so a
    directory that was filled elsewhere and copied serves a controller without internet.
author: beowulf contributors
options:
  directory:
    description: Where the wheels are kept.
    type: path
    required: true
  project:
    description: The directory that has the project's pyproject.toml.
    type: path
    required: true
  libraries:
    description: What is wanted besides, in pip's words, such as scikit-learn or torch==2.13.0.
    type: list
    elements: str
    default: []
  constraints:
    description: Files that state the versions, as pip's option --constraint takes them.
    type: list
    elements: path
    default: []
  python:
    description: Release of Python that the wheels must fit, such as 3.13.
    type: str
    required: true
  architecture:
    description: Machine architecture that they must fit, as uname -m says it.
    type: str
    default: x86_64
  glibc:
    description: Release of the C library that they must fit.
    type: str
    default: "2.41"
  refuse:
    description: Distributions that must not be among them.
    type: list
    elements: str
    default: []
  pip:
    description: The command that is pip on this computer.
    type: list
    elements: str
    required: true
  pip_arguments:
    description: Further options of pip download, such as --index-url and an address.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Neither builds nor downloads; says whether it would.
    support: full
"""

EXAMPLES = r"""
- name: Gather the wheels here
  wheelhouse:
    directory: /var/cache/wheels
    project: /home/ada/beowulf
    python: "3.13"
    pip: [python3, -m, pip]
  delegate_to: localhost
  become: false
"""

RETURN = r"""
wheels:
  description: The files, each with its path, name and sha256; none if check mode would gather them.
  returned: always
  type: list
  elements: dict
fingerprint:
  description: Changes when a wheel, or the Python they are for, does.
  returned: always
  type: str
"""

OFFLINE = (
    "Without internet here, run the same playbook from this checkout on a computer that has it,"
    " and copy its directory of wheels to {directory}"
)


def main() -> None:
    """Gather, and say which files there are."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "project": {"type": "path", "required": True},
            "libraries": {"type": "list", "elements": "str", "default": []},
            "constraints": {"type": "list", "elements": "path", "default": []},
            "python": {"type": "str", "required": True},
            "architecture": {"type": "str", "default": "x86_64"},
            "glibc": {"type": "str", "default": "2.41"},
            "refuse": {"type": "list", "elements": "str", "default": []},
            "pip": {"type": "list", "elements": "str", "required": True},
            "pip_arguments": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    own = own_wheel_place(wanted["directory"], wanted["project"])
    built = glob.glob(os.path.join(own, "*.whl"))
    gathered = read_set(wanted) if built else None
    changed = gathered is None
    if changed and module.check_mode:
        module.exit_json(changed=True, wheels=[], fingerprint="")
    if not built:
        built = build(module, wanted, own)
    if gathered is None:
        # Without the index first: most often only the project's own wheel is new.
        gathered = download(module, wanted, built[0])
    wheels = [*gathered, describe(built[0])]
    module.exit_json(
        changed=changed,
        wheels=[{key: wheel[key] for key in ("name", "path", "sha256")} for wheel in wheels],
        fingerprint=fingerprint(wanted["python"], wheels),
    )


def fingerprint(python: str, wheels: list[dict[str, Any]]) -> str:
    """Return what changes with any wheel or with the Python: 16 hexadecimal digits."""
    contents = [python, sorted([wheel["name"], wheel["sha256"]] for wheel in wheels)]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]


def own_wheel_place(directory: str, project: str) -> str:
    """Return the directory of the project's wheel, named after what is in its sources."""
    digest = hashlib.sha256()
    for path in source_files(project):
        digest.update(os.path.relpath(path, project).encode() + b"\0")
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return os.path.join(directory, "project", digest.hexdigest()[:16])


def source_files(project: str) -> list[str]:
    """Return the files that go into the project's wheel, or decide how it is built."""
    found = [os.path.join(project, name) for name in ("pyproject.toml", "README.md", "LICENSE")]
    for folder, folders, names in os.walk(os.path.join(project, "beowulf")):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        found += [os.path.join(folder, name) for name in sorted(names) if name[-4:] != ".pyc"]
    return [path for path in found if os.path.isfile(path)]


def set_file(wanted: dict[str, Any]) -> str:
    """Return the file that lists the wheels that were gathered for the same words."""
    words = [wanted[key] for key in ("python", "architecture", "glibc", "pip_arguments")]
    digest = hashlib.sha256(json.dumps([*words, sorted(wanted["libraries"])]).encode())
    # Of the project only what it needs matters here, which stands in pyproject.toml.
    for path in [*wanted["constraints"], os.path.join(wanted["project"], "pyproject.toml")]:
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return os.path.join(wanted["directory"], "sets", digest.hexdigest()[:16] + ".json")


def read_set(wanted: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the wheels that were gathered before; None unless all are there, unchanged."""
    try:
        with open(set_file(wanted), encoding="utf-8") as file:
            known: list[dict[str, Any]] = json.load(file)
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    found = []
    for wheel in known:
        path = os.path.join(wanted["directory"], wheel["name"])
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        # Large files are not read again each time; a copied one is, once per run.
        same = [status.st_size, status.st_mtime_ns] == [wheel["bytes"], wheel["mtime_ns"]]
        now = {**wheel, "path": path} if same else describe(path)
        if now["sha256"] != wheel["sha256"]:
            return None
        found.append(now)
    return found


def describe(path: str) -> dict[str, Any]:
    """Return a file's path, name, sha256, size and time."""
    status = os.stat(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "path": path,
        "name": os.path.basename(path),
        "sha256": digest,
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }


def build(module: AnsibleModule, wanted: dict[str, Any], place: str) -> list[str]:
    """Build the project's wheel into a place of its own and return its path, in a list."""
    with scratch(wanted["directory"]) as into:
        command = [*wanted["pip"], "wheel", "--quiet", "--no-deps", "--wheel-dir", into]
        command += ["--find-links", wanted["directory"]]  # for what it is built with
        run_pip(module, wanted, [*command, wanted["project"]], "build the project's own wheel")
        os.makedirs(place, exist_ok=True)
        for name in os.listdir(into):
            os.replace(os.path.join(into, name), os.path.join(place, name))
    return glob.glob(os.path.join(place, "*.whl"))


def download(module: AnsibleModule, wanted: dict[str, Any], own: str) -> list[dict[str, Any]]:
    """Download what is missing, write down which wheels belong together, and return them."""
    directory = wanted["directory"]
    with scratch(directory) as into:
        command = [*wanted["pip"], "download", "--quiet", "--dest", into, "--only-binary=:all:"]
        command += ["--find-links", directory, "--python-version", wanted["python"]]
        command += ["--implementation", "cp"]
        for platform in platforms(wanted["architecture"], wanted["glibc"]):
            command += ["--platform", platform]
        for path in wanted["constraints"]:
            command += ["--constraint", path]
        needed = [own, *wanted["libraries"]]
        offline, _, _ = module.run_command([*command, "--no-index", *needed])
        if offline != 0:
            run_pip(module, wanted, [*command, *wanted["pip_arguments"], *needed], "download")
        names = sorted(name for name in os.listdir(into) if name != os.path.basename(own))
        refuse(module, wanted["refuse"], names)
        for name in names:
            os.replace(os.path.join(into, name), os.path.join(directory, name))
    wheels = [describe(os.path.join(directory, name)) for name in names]
    kept = set_file(wanted)
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    with open(kept + ".new", "w", encoding="utf-8") as file:
        json.dump([{k: v for k, v in w.items() if k != "path"} for w in wheels], file, indent=1)
    os.replace(kept + ".new", kept)
    return wheels


def platforms(architecture: str, glibc: str) -> list[str]:
    """Return the platform tags that fit, the newest C library first.

    pip takes each of them literally, so all older ones are named too.
    """
    newest = int(glibc.split(".")[1])
    tags = [f"manylinux_2_{minor}_{architecture}" for minor in range(newest, 4, -1)]
    old = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    tags += [f"{name}_{architecture}" for minor, name in old.items() if minor <= newest]
    return [*tags, f"linux_{architecture}"]


def refuse(module: AnsibleModule, unwanted: list[str], names: list[str]) -> None:
    """End with an error if one of the wheels must not be there."""
    for name in names:
        distribution = re.sub(r"[-_.]+", "-", name.split("-", maxsplit=1)[0]).lower()
        if distribution in unwanted:
            module.fail_json(
                msg=f"{name} is among the wheels, but {distribution} must not be in the cluster's"
                " environment, where mpi4py runs on Debian's Open MPI; take out what needs it"
            )


def run_pip(module: AnsibleModule, wanted: dict[str, Any], command: list[str], what: str) -> None:
    """Run pip, and end with its last words if it fails."""
    status, out, err = module.run_command(command)
    if status != 0:
        lines = [line for line in (out + err).splitlines() if line and "WARNING" not in line]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        said = "; ".join(errors[:2] or lines[-1:]) or f"it ended with {status}"
        module.fail_json(
            msg=f"pip could not {what}: {said.rstrip('.')}. "
            + OFFLINE.format(directory=wanted["directory"]),
            lines=lines[-30:],
        )


@contextlib.contextmanager
def scratch(directory: str) -> Any:
    """Lend a directory on the same file system, which is removed at the end."""
    os.makedirs(directory, exist_ok=True)
    place = tempfile.mkdtemp(prefix=".new-", dir=directory)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()

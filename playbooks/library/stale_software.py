#!/usr/bin/python
"""Ansible module: find out why a machine must be rebooted to run what is installed on it."""

from __future__ import annotations

import glob
import os
import platform
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kernel_files import text_of

DOCUMENTATION = r"""
module: stale_software
short_description: Find out why a machine must be rebooted to run what is installed on it
description:
  - Three things count. A package said so in /run/reboot-required; a newer kernel than the one that
    runs was installed since the machine started; a service still uses a program or library of
    which an upgrade has put another in its place, as after one of libc.
  - It is looked at what is, not at what an upgrade did, so that nothing is forgotten when a run is
    cut in between.
author: beowulf contributors
attributes:
  check_mode:
    description: Looks, as always.
    support: full
"""

EXAMPLES = r"""
- name: See what still runs from before the upgrade
  stale_software:
  register: stale
"""

RETURN = r"""
reasons:
  description: In words, why it must be rebooted; empty if it need not.
  returned: always
  type: list
  elements: str
"""

REQUIRED = "/run/reboot-required"
# A line of /proc/PID/maps: a file that was replaced, not one of a program's own making.
REPLACED = re.compile(r"\s(/usr/(?:bin|sbin|lib|lib64|libexec)/\S+) \(deleted\)$", re.MULTILINE)
# The control group of what systemd started, and not somebody who is logged in.
SERVICE = re.compile(r"^0::/(init\.scope|system\.slice/([^/]+\.service))", re.MULTILINE)
SHOWN = 4


def main() -> None:
    """Look and say what was found."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    reasons = []
    if os.path.exists(REQUIRED):
        packages = sorted(set(text_of(f"{REQUIRED}.pkgs").split()))
        reasons.append(f"asked for by {', '.join(packages[:SHOWN]) or 'a package'}")
    newer = newer_kernel(module)
    if newer:
        reasons.append(f"kernel {newer} instead of {platform.release()}")
    services = sorted({name for pid in processes() if (name := outdated(pid))})
    if services:
        more = f" and {len(services) - SHOWN} more" if len(services) > SHOWN else ""
        reasons.append(f"old files in use by {', '.join(services[:SHOWN])}{more}")
    module.exit_json(changed=False, reasons=reasons)


def newer_kernel(module: AnsibleModule) -> str:
    """Return the version of a kernel that was installed since the machine started, if newer."""
    started = re.search(r"^btime (\d+)$", text_of("/proc/stat"), re.MULTILINE)
    found = ""
    for path in glob.glob("/boot/vmlinuz-*"):
        version = os.path.basename(path).removeprefix("vmlinuz-")
        if started and os.stat(path).st_ctime > int(started.group(1)):
            least = found or platform.release()
            if module.run_command(["dpkg", "--compare-versions", version, "gt", least])[0] == 0:
                found = version
    return found


def processes() -> list[str]:
    """Return the numbers of all processes."""
    return [name for name in os.listdir("/proc") if name.isdecimal()]


def outdated(pid: str) -> str:
    """Return the service to which a process belongs that runs replaced files; else nothing."""
    service = service_of(text_of(f"/proc/{pid}/cgroup"))
    return service if service and REPLACED.search(text_of(f"/proc/{pid}/maps")) else ""


def service_of(cgroup: str) -> str:
    """Return the service that a control group belongs to; nothing for jobs and logins."""
    found = SERVICE.search(cgroup)
    if not found or "slurmstepd" in cgroup:
        return ""
    return found.group(2) or "systemd"


if __name__ == "__main__":
    main()

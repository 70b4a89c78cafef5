#!/usr/bin/python
"""Ansible module: take a node out of Slurm's work when its jobs are done, or give it back."""

from __future__ import annotations

import re
import shutil
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: slurm_duty
short_description: Take a node out of Slurm's work when its jobs are done, or give it back
description:
  - Runs where C(scontrol) does and slurmctld answers.
  - Off duty, the node gets no new jobs, and the module waits until those that run there have ended.
    If they take too long the node is given back, and the module fails and names them.
  - On duty, the node works again, if it was this module that took it out. What an administrator or
    the health check drained stays drained.
  - A machine that Slurm does not know, or one without Slurm at all, is no error.
author: beowulf contributors
options:
  node:
    description: The name of the node.
    type: str
    required: true
  duty:
    description: What is wanted.
    type: str
    choices: ["off", "on"]
    required: true
  reason:
    description: Why, in a few words, as C(sinfo -R) shows them.
    type: str
    default: maintenance
  wait_s:
    description: How long to wait for the jobs, in seconds. 0 does not wait, jobs or not.
    type: int
    default: 3600
  interactive:
    description: >-
      Whether to wait also for the interactive jobs of the whole cluster, whose other end is in a
      login on this machine.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says whether the duty would change; does not wait.
    support: full
"""

EXAMPLES = r"""
- name: Let the jobs on node3 end
  slurm_duty: {node: node3, duty: "off", reason: reboot, wait_s: 3600}
  delegate_to: head

- name: Have node3 work again
  slurm_duty: {node: node3, duty: "on"}
  delegate_to: head
"""

RETURN = r"""
known:
  description: Whether Slurm knows the node.
  returned: always
  type: bool
state:
  description: The node's state in Slurm at the end; empty if it is not known.
  returned: always
  type: str
reason:
  description: Why it is out of work, as Slurm shows it.
  returned: always
  type: str
"""

# Not "beowulf: ", by which the health check knows its own words, and takes them back.
OURS = "beowulf maintenance"
# Slurm's words for jobs that have something on a node.
BUSY = "RUNNING,COMPLETING,CONFIGURING,SUSPENDED,STOPPED,SIGNALING,STAGE_OUT"
LOOK_S = 2
SHOWN = 5


def main() -> None:
    """Read the task's words, look, act, wait, and say what was done."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "duty": {"type": "str", "choices": ["off", "on"], "required": True},
            "reason": {"type": "str", "default": "maintenance"},
            "wait_s": {"type": "int", "default": 3600},
            "interactive": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    node: str = module.params["node"]
    state, reason = show(module, node)
    if not state:
        module.exit_json(changed=False, known=False, state="", reason="")
    if module.params["duty"] == "on":
        changed = is_drained(state) and reason.startswith(OURS)
        if changed and not module.check_mode:
            update(module, node, {"state": "resume"})
    else:
        changed = not is_drained(state)
        if not module.check_mode:
            if changed:
                update(module, node, {"state": "drain", "reason": reason_for(module.params)})
            wait_for_jobs(module, node)
    if not module.check_mode:
        state, reason = show(module, node)
    module.exit_json(changed=changed, known=True, state=state, reason=reason)


def reason_for(words: dict[str, Any]) -> str:
    """Return what Slurm shows as the reason."""
    return f"{OURS}: {words['reason']}"


def is_drained(state: str) -> bool:
    """Return whether a node gets no new jobs on somebody's word, as IDLE+DRAIN says."""
    return "DRAIN" in state.split("+")


def is_gone(state: str) -> bool:
    """Return whether nothing can run on a node, since it is off or does not answer."""
    return bool({"DOWN", "NOT_RESPONDING", "UNKNOWN"} & set(state.split("+")))


def show(module: AnsibleModule, node: str) -> tuple[str, str]:
    """Return a node's state and the reason for it; empty where Slurm does not know the node."""
    if shutil.which("scontrol") is None:
        return "", ""
    status, output, errors = module.run_command(["scontrol", "--oneliner", "show", "node", node])
    if "not found" in output + errors:
        return "", ""
    if status != 0:
        said = (errors or output).strip().partition("\n")[0]
        module.fail_json(
            msg=f"Slurm's queue does not answer, so nobody knows what runs on {node}: {said}. "
            "Look on the head: systemctl status slurmctld munge"
        )
    return parsed(output)


def parsed(shown: str) -> tuple[str, str]:
    """Return state and reason from what ``scontrol --oneliner show node`` prints."""
    state = re.search(r"\bState=(\S+)", shown)
    reason = re.search(r"\bReason=(.*?)(?: \[[^\]]*\])?\s*(?:Comment=.*)?$", shown.strip())
    return (
        state.group(1).replace("*", "+NOT_RESPONDING") if state else "",
        reason.group(1) if reason else "",
    )


def update(module: AnsibleModule, node: str, words: dict[str, str]) -> None:
    """Tell Slurm what of a node to change."""
    pairs = [f"{name}={value}" for name, value in words.items()]
    status, output, errors = module.run_command(["scontrol", "update", f"nodename={node}", *pairs])
    # A job may have been given to it, or the health check may have been quicker.
    if status != 0:
        module.fail_json(msg=f"Slurm did not change {node}: {(errors or output).strip()}")


def wait_for_jobs(module: AnsibleModule, node: str) -> None:
    """Wait until nothing runs on a node, or give it back and fail."""
    wait_s = module.params["wait_s"]
    deadline = time.monotonic() + wait_s
    while wait_s and (jobs := running(module, node)) and not is_gone(show(module, node)[0]):
        if time.monotonic() > deadline:
            _, reason = show(module, node)
            if reason.startswith(OURS):
                update(module, node, {"state": "resume"})
            module.fail_json(
                msg=f"{node}: after {wait_s} s there still run {shown(jobs)}. {node} works on as "
                "before, and nothing was done to it. Wait longer, or end them: scancel NUMBER"
            )
        time.sleep(LOOK_S)


def running(module: AnsibleModule, node: str) -> list[tuple[str, str]]:
    """Return the numbers and owners of the jobs that must not be disturbed."""
    jobs = queue(module, ["--nodelist", node])
    if module.params["interactive"]:
        jobs += [job for job in queue(module, []) if job[2] == "0" and job not in jobs]
    return [(number, owner) for number, owner, _ in jobs]


def queue(module: AnsibleModule, words: list[str]) -> list[tuple[str, str, str]]:
    """Return number, owner and whether it is a batch job ("1") of the jobs that run."""
    command = ["squeue", "--noheader", "--states", BUSY, *words]
    command += ["--Format", "JobID:|,UserName:|,BatchFlag:|"]
    status, output, errors = module.run_command(command)
    if status != 0:
        module.fail_json(msg=f"Slurm does not say what runs: {errors.strip()}")
    lines = (line.strip().split("|") for line in output.splitlines())
    return [(line[0], line[1], line[2]) for line in lines if len(line) > 2]


def shown(jobs: list[tuple[str, str]]) -> str:
    """Return jobs in words; of many, the first."""
    names = [f"job {number} of {owner}" for number, owner in jobs[:SHOWN]]
    more = [f"{len(jobs) - SHOWN} more"] if len(jobs) > SHOWN else []
    return ", ".join(names + more)


if __name__ == "__main__":
    main()

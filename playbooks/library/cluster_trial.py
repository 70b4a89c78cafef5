#!/usr/bin/python
"""Ansible module: try that what makes a cluster works, and say what was seen."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: cluster_trial
short_description: Try that what makes a cluster works, and say what was seen
description:
  - Has three stages. C(open), on the head, makes a directory on the shared file system and says
    what the machines should find; C(look), on each machine, says what it finds; C(run), on the
    head, has Slurm run a job on each node, and one with MPI across all of them, and removes the
    directory.
  - Nothing here fails because something does not work; that is for the filter C(verification).
author: beowulf contributors
options:
  stage:
    description: Which of the three.
    type: str
    choices: [open, look, run]
    required: true
  shared:
    description: The shared directory.
    type: path
    default: /opt/beowulf
  opened:
    description: What C(open) said.
    type: dict
    default: {}
  account:
    description: Who the jobs are of; not root, and known on all machines.
    type: str
    default: slurm
  nodes:
    description: The names of the machines that compute.
    type: list
    elements: str
    default: []
  python:
    description: The Python that MPI jobs run in.
    type: path
    default: /opt/beowulf/venv/bin/python
  wait_s:
    description: How long a job may wait for room until it is called off.
    type: int
    default: 60
  run_s:
    description: How long a job may run until it is called off.
    type: int
    default: 120
attributes:
  check_mode:
    description: Does nothing.
    support: full
"""

EXAMPLES = r"""
- name: Put something to be found on the head
  cluster_trial:
    stage: open
"""

RETURN = r"""
opened:
  description: What the machines should find; place, token, credential and slurm_conf_sha256.
  returned: when stage is open
  type: dict
seen:
  description: What this machine found; files, munge (faults in words, or null) and health.
  returned: when stage is look
  type: dict
tried:
  description: What Slurm says of the nodes, and how each one's job and the one of all ended.
  returned: when stage is run
  type: dict
"""

HEALTH = "/usr/local/sbin/beowulf-node-health"
PREFIX = ".verify-"
LEFT_OVER_S = 3600
UP = {"idle", "mixed", "allocated", "completing"}
WAITS = {"PENDING", "CONFIGURING"}
RUNS = {"RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT"}
ALL_REDUCE = """
import json, os, sys
import numpy
from mpi4py import MPI
ranks = MPI.COMM_WORLD
total = numpy.zeros(1000)
ranks.Allreduce(numpy.full(1000, ranks.rank + 1.0), total)
right = bool((total == ranks.size * (ranks.size + 1) / 2).all())
names = ranks.gather([os.environ.get("SLURMD_NODENAME") or MPI.Get_processor_name(), right])
if ranks.rank == 0:
    with open(sys.argv[1] + ".new", "w") as file:
        json.dump(names, file)
    os.replace(sys.argv[1] + ".new", sys.argv[1])
"""


def main() -> None:
    """Do what the stage asks for."""
    module = AnsibleModule(
        argument_spec={
            "stage": {"type": "str", "choices": ["open", "look", "run"], "required": True},
            "shared": {"type": "path", "default": "/opt/beowulf"},
            "opened": {"type": "dict", "default": {}},
            "account": {"type": "str", "default": "slurm"},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "python": {"type": "path", "default": "/opt/beowulf/venv/bin/python"},
            "wait_s": {"type": "int", "default": 60},
            "run_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    if module.check_mode:
        module.exit_json(changed=False, skipped=True)
    if wanted["stage"] == "open":
        module.exit_json(changed=False, opened=open_trial(wanted["shared"]))
    if wanted["stage"] == "look":
        module.exit_json(changed=False, seen=look(wanted["opened"]))
    place = wanted["opened"]["place"]
    try:
        tried = run_jobs(wanted, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    module.exit_json(changed=False, tried=tried)


def command(*words: str, text: str = "", timeout_s: float = 30.0) -> tuple[bool, str]:
    """Run a program, not for long; return whether it succeeded and what it said."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=timeout_s, check=False,
            env=environment, cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, f"{words[0]} did not end within {timeout_s:g} s"
    except OSError as error:
        return False, f"{words[0]}: {error.strerror}"
    return done.returncode == 0, (done.stdout if done.returncode == 0 else done.stderr).strip()


def last_line(text: str) -> str:
    """Return the last line of what a program said."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


# --- On the head, first --------------------------------------------------------------


def open_trial(shared: str) -> dict[str, Any]:
    """Write a file that the others are to read, and a credential that they are to believe.

    The directory has a name that no machine has asked the server for yet, since NFS remembers
    for a minute what is not there.
    """
    for path in glob.glob(os.path.join(shared, PREFIX + "*")):
        if time.time() - os.path.getmtime(path) > LEFT_OVER_S:  # of a run that was cut
            shutil.rmtree(path, ignore_errors=True)
    place, token = "", secrets.token_hex(8)
    if os.path.isdir(shared):
        place = tempfile.mkdtemp(prefix=PREFIX, dir=shared)
        os.chmod(place, 0o755)  # noqa: S103 - all are to read it
        with open(os.path.join(place, "token"), "w", encoding="ascii") as file:
            file.write(token)
    encoded, credential = command("munge", "--no-input")
    return {
        "place": place,
        "token": token,
        "credential": credential if encoded else "",
        "munge_fault": None if encoded else last_line(credential),
        "slurm_conf_sha256": sha256_of("/etc/slurm/slurm.conf"),
    }


def sha256_of(path: str) -> str | None:
    """Return a file's hash, or None if there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return None


# --- On each machine -----------------------------------------------------------------


def look(opened: dict[str, Any]) -> dict[str, Any]:
    """Return what this machine finds of what the head wrote, and how healthy it says it is."""
    return {
        "files": read_token(opened) if opened.get("place") else None,
        "munge": decode(opened) if opened.get("credential") else None,
        "health": ask_health(),
    }


def read_token(opened: dict[str, Any]) -> str | None:
    """Return what is wrong with the head's file. Another process reads it: it may hang."""
    read, said = command("cat", os.path.join(opened["place"], "token"), timeout_s=10)
    if read and said == opened["token"]:
        return None
    if read:
        return "what the head wrote into a file is not what is read here"
    return f"the head's file can't be read: {last_line(said)}"


def decode(opened: dict[str, Any]) -> str | None:
    """Return why munge here does not believe the head."""
    believed, said = command("unmunge", "--no-output", text=opened["credential"] + "\n")
    return None if believed else last_line(said).removeprefix("unmunge: Error: ")


def ask_health() -> dict[str, Any] | None:
    """Return what the node's own health program says, or None where there is none."""
    if not os.path.exists(HEALTH):
        return None
    try:
        done = subprocess.run(
            [HEALTH, "--json"], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return {"faults": [f"{HEALTH} did not end within 60 s"], "checks": {}}
    try:
        found: dict[str, Any] = json.loads(done.stdout)  # also where it ends with 1: faults
    except json.JSONDecodeError:
        return {"faults": [f"{HEALTH}: {last_line(done.stderr)}"], "checks": {}}
    return found


# --- On the head, last ---------------------------------------------------------------


def run_jobs(wanted: dict[str, Any], place: str) -> dict[str, Any]:
    """Return how jobs ended: ok, busy, or a fault in words, by node, and with MPI."""
    answered, said = command(
        "sinfo", "--noheader", "--Node", "--format", "%N|%T|%c|%m|%E", timeout_s=60
    )
    if not answered:
        return {"fault": f"Slurm's controller does not answer: {last_line(said)}"}
    nodes = parse_nodes(said)
    jobs_place = os.path.join(place, "jobs")
    user = pwd.getpwnam(wanted["account"])
    os.mkdir(jobs_place, mode=0o700)
    os.chown(jobs_place, user.pw_uid, user.pw_gid)
    up = [n for n in wanted["nodes"] if nodes.get(n, {}).get("state") in UP]
    trial = Trial(wanted["account"], jobs_place, wanted["wait_s"], wanted["run_s"])
    jobs = trial.each(up)
    fine = [name for name in up if jobs[name] == "ok"]
    mpi = trial.together(fine, wanted["python"]) if fine else None
    return {"fault": None, "nodes": nodes, "jobs": jobs, "mpi": mpi, "mpi_nodes": fine}


def parse_nodes(said: str) -> dict[str, dict[str, Any]]:
    """Return the nodes by name, from lines of name|state|cpus|memory in MB|reason."""
    nodes = {}
    for line in said.splitlines():
        name, state, cpus, memory_mb, reason = line.split("|", maxsplit=4)
        nodes[name] = {
            "state": re.sub(r"[~#!%$@^+-]$", "", state),  # a * stays: it does not answer
            "cpus": int(cpus),
            "memory_mb": int(memory_mb.rstrip("+")),
            "reason": "" if reason == "none" else reason,
        }
    return nodes


class Trial:
    """Jobs of an ordinary account, called off if they wait too long."""

    def __init__(self, account: str, place: str, wait_s: int, run_s: int) -> None:
        self.account = account
        self.place = place
        self.wait_s = wait_s
        self.run_s = run_s

    def each(self, nodes: list[str]) -> dict[str, str]:
        """Run a job on each node, all at once, and return how it ended: ok, busy, or words."""
        ended, jobs = {}, {}
        for name in nodes:
            script = f'echo "$SLURMD_NODENAME" > {self.place}/{name}\n'
            number, refused = self.submit(name, 1, name, script, memory_mb=32)
            if refused:
                ended[name] = f"sbatch refused a job: {refused}"
            else:
                jobs[number] = name
        for number, state in self.wait(list(jobs)).items():
            name = jobs[number]
            ended[name] = self.judge(state, self.text(name).strip() == name, f"{name}.log")
        return ended

    def together(self, nodes: list[str], python: str) -> str:
        """Add numbers up across nodes with MPI, and return how it ended: ok, busy, or words."""
        program = os.path.join(os.path.dirname(self.place), "all_reduce.py")
        with open(program, "w", encoding="ascii") as file:
            file.write(ALL_REDUCE)
        result = f"{self.place}/sum.json"
        script = (
            f"mpirun -n {len(nodes)} --map-by ppr:1:node --bind-to none"
            f" {python} -m mpi4py {program} {result}\n"
        )
        number, refused = self.submit("mpi", len(nodes), ",".join(nodes), script, memory_mb=200)
        if refused:
            return f"sbatch refused the job: {refused}"
        state = self.wait([number])[number]
        text = self.text("sum.json")
        ranks: list[list[Any]] = json.loads(text) if text else []
        if ranks and not all(right for _, right in ranks):
            return "the sum is wrong on " + ", ".join(name for name, right in ranks if not right)
        complete = sorted(name for name, _ in ranks) == sorted(nodes)
        return self.judge(state, complete, "mpi.log")

    def judge(self, state: str, done: bool, log: str) -> str:  # noqa: FBT001
        """Return ok, busy, or what went wrong."""
        if state in WAITS:
            return "busy"
        if state == "COMPLETED" and done:
            return "ok"
        if state in RUNS:
            return f"the job did not end within {self.run_s} s: {last_line(self.text(log))}"
        return f"the job ended as {state}: {last_line(self.text(log))}"

    def text(self, name: str) -> str:
        """Return what is in a file of the jobs' directory."""
        try:
            with open(os.path.join(self.place, name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def submit(
        self, name: str, count: int, nodes: str, script: str, *, memory_mb: int
    ) -> tuple[str, str]:
        """Give a job to Slurm; return its number, or why Slurm does not take it."""
        # An environment of its own, but not by --export: with that, Slurm logs the account in on
        # the node to see what else there is, and waits five seconds for one that can't log in.
        words = ["runuser", "-u", self.account, "--", "env", "-i"]
        words += ["PATH=/usr/bin:/bin", f"HOME={self.place}"]
        words += ["sbatch", "--parsable", "--no-requeue"]
        words += [f"--job-name=verify-{name}", f"--nodes={count}", "--ntasks-per-node=1"]
        words += [f"--nodelist={nodes}", f"--mem={memory_mb}M", "--time=2", "--comment=verify"]
        words += [f"--chdir={self.place}", f"--output={self.place}/{name}.log"]
        taken, said = command(*words, text="#!/bin/sh\n" + script, timeout_s=60)
        return (said.partition(";")[0], "") if taken else ("", last_line(said))

    def wait(self, numbers: list[str]) -> dict[str, str]:
        """Return the jobs' states when they have ended, or took too long; then they are ended."""
        states = dict.fromkeys(numbers, "PENDING")
        began = time.monotonic()
        while numbers:
            asked = ["squeue", "--noheader", "--states=all", "--jobs", ",".join(numbers)]
            answered, said = command(*asked, "--format", "%i|%T")
            if answered:
                states.update(dict(line.split("|") for line in said.splitlines()))
            passed_s = time.monotonic() - began
            waiting = [number for number in numbers if states[number] in WAITS]
            running = [number for number in numbers if states[number] in RUNS]
            late = waiting if passed_s > self.wait_s else []
            late = late + running if passed_s > self.wait_s + self.run_s else late
            if late:
                command("scancel", *late)
                numbers = [number for number in numbers if number not in late]
            if not set(numbers) & {*waiting, *running}:
                break
            time.sleep(0.5)  # between two looks
        return states


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Have Slurm start beowulf's jobs again that lost their first node, on the nodes that are left.

Slurm keeps a job at work when one of its nodes is lost (sbatch --no-kill), even if that was the
first one, where the batch script ran: nobody looks after such a job any more. This puts it back
into the queue. What waits there because nodes are lost is asked for less than it wanted, and not
for the node that was lost, for a while; for what it wanted at first as soon as that is there again.

Likewise a job of which the first node is the head itself, after the head was off: Slurm believes it
to run until it asks the head for its jobs, which may be seven minutes later.

It runs for ever, on the head, as Slurm's own user. Its only argument is the head's name as a node.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EVERY_S = 5.0
# So long, in seconds, a job that is started again does without the node that it lost.
AVOIDED_S = 600.0
# So long, in seconds, a job may be said to run here before it does.
BEGINS_S = 20.0
# A directory for each job that has a process here (systemd's scope of slurmstepd, cgroup v2).
SCOPE, JOB = "system.slice/*slurmstepd.scope", "job_{}"
CGROUPS = Path("/sys/fs/cgroup")
TIMEOUT_S = 30.0
FORMAT = "%i|%T|%B|%N|%k"
FIELDS = 5
# Behind the job's number and key: the fewest nodes it must have; how many tasks it had at first.
COMMENT = re.compile(r"(beowulf:[0-9]+:[0-9a-f]+)(?::([0-9]{1,6})(?::([0-9]{1,6}))?)?")
FIELD = re.compile(r"(?:^|\s)([\w/:]+)=(\S*)")
USABLE = ("IDLE", "MIXED", "ALLOCATED", "COMPLETING")
UNUSABLE = re.compile(
    r"DOWN|DRAIN|FAIL|NOT_RESPONDING|INVALID|REBOOT|MAINT|POWER|RESERVED|UNKNOWN|FUTURE|\*"
)


@dataclass(frozen=True)
class Job:
    """One of beowulf's jobs in the queue; ``fewest`` nodes it must have at least.

    ``most`` is how many tasks it had before it asked for less, 0 if it never did; ``name`` is
    what its comment begins with.
    """

    number: int
    state: str
    first_node: str
    nodes: str
    name: str
    fewest: int
    most: int


@dataclass(frozen=True)
class Node:
    """A node that could do work now or later."""

    name: str
    cpus: int


@dataclass(frozen=True)
class Wanted:
    """What a waiting job asks for. ``per_node`` is 0 if it does not care how tasks are spread."""

    tasks: int
    per_node: int
    cpus_per_task: int
    restarts: int
    avoids: str


def parsed_queue(told: str) -> list[Job]:
    """Return beowulf's jobs in ``squeue``'s output; other people's are passed over."""
    found = []
    for line in told.splitlines():
        fields = [field.strip() for field in line.split("|", FIELDS - 1)]
        comment = COMMENT.fullmatch(fields[-1]) if len(fields) == FIELDS else None
        if comment and fields[0].isdecimal():
            state, first, nodes = fields[1:4]
            name, fewest, most = comment.groups()
            found.append(
                Job(int(fields[0]), state, first, nodes, name, int(fewest or 1), int(most or 0))
            )
    return found


def parsed_nodes(told: str) -> list[Node]:
    """Return the nodes that could do work, from ``scontrol show nodes --oneliner``."""
    found = []
    for line in told.splitlines():
        facts = dict(FIELD.findall(line.partition(" Reason=")[0]))
        state = facts.get("State", "")
        if state.startswith(USABLE) and not UNUSABLE.search(state):
            cpus = facts.get("CPUEfctv") or facts.get("CPUTot")
            found.append(Node(facts["NodeName"], whole(cpus)))
    return found


def parsed_job(told: str) -> Wanted:
    """Return what a waiting job asks for, from ``scontrol show job --oneliner``."""
    facts = dict(FIELD.findall(told))
    avoids = facts.get("ExcNodeList", "(null)")
    return Wanted(
        tasks=whole(facts.get("NumTasks")),
        per_node=whole(facts.get("NtasksPerN:B:S:C", "").partition(":")[0]),
        cpus_per_task=max(1, whole(facts.get("CPUs/Task"))),
        restarts=whole(facts.get("Restarts")),
        avoids="" if avoids == "(null)" else avoids,
    )


def whole(text: str | None) -> int:
    """Return a number, 0 for what is none."""
    return int(text) if text and text.isdecimal() else 0


def fitting(job: Job, wanted: Wanted, usable: Sequence[Node]) -> dict[str, int | str]:
    """Return what to change of a job that asks for more than there is, or for less than it could.

    It never asks for fewer nodes than it must have: then it waits. When it asks for less than at
    first, its comment keeps what that was.
    """
    most = max(job.most, wanted.tasks)
    changes: dict[str, int | str] = {}
    if wanted.per_node:
        there = [node for node in usable if node.cpus >= wanted.per_node * wanted.cpus_per_task]
        nodes = min(most // wanted.per_node, max(job.fewest, len(there), 1))
        tasks = nodes * wanted.per_node
        changes["NumNodes"] = nodes
    else:
        tasks = min(most, sum(node.cpus // wanted.cpus_per_task for node in usable))
    if tasks in (0, wanted.tasks):
        return {}
    changes |= {"NumTasks": tasks, "NumCPUs": tasks * wanted.cpus_per_task}
    if not job.most:
        changes["Comment"] = f"{job.name}:{job.fewest}:{most}"
    return changes


@dataclass(frozen=True)
class Lost:
    """A node that a job has lost, and until when the job is kept off it.

    ``restarts`` is how often the job had been started again when it waited for its next start.
    """

    node: str
    until: float
    restarts: int | None = None


class Avoided:
    """Nodes that jobs have lost, each for a while, and for the job's next start only."""

    def __init__(self) -> None:
        self._lost: dict[int, Lost] = {}

    def add(self, number: int, node: str, now: float) -> None:
        """Keep a job off a node that it has lost."""
        self._lost[number] = Lost(node, now + AVOIDED_S)

    def instead_of(
        self, avoids: Sequence[str], number: int, restarts: int, usable: Iterable[Node], now: float
    ) -> list[str]:
        """Return the nodes that a job is to avoid, given those that it does.

        Whatever else its owner keeps it off stays so. The lost node is not avoided where there
        is no other, nor when the job is started once more: it is so to have that node again.
        """
        lost = self._lost.get(number)
        if lost is None:
            return list(avoids)
        if lost.restarts is None:
            lost = self._lost[number] = replace(lost, restarts=restarts)
        others = [name for name in avoids if name != lost.node]
        has_place = any(one.name not in (lost.node, *others) for one in usable)
        is_avoided = lost.restarts == restarts and now < lost.until and has_place
        return [*others, lost.node] if is_avoided else others

    def forget_all_but(self, numbers: Iterable[int]) -> None:
        """Forget jobs that Slurm has done with."""
        kept = set(numbers)
        self._lost = {number: lost for number, lost in self._lost.items() if number in kept}


class Vanished:
    """Jobs whose batch script should run on this machine and does not, each with since when."""

    def __init__(self, here: str, cgroups: Path = CGROUPS) -> None:
        self._here = here
        self._cgroups = cgroups
        self._since: dict[int, float] = {}

    def among(self, jobs: Iterable[Job], now: float) -> list[Job]:
        """Return those of the jobs of which nothing has been here for a while."""
        scopes = list(self._cgroups.glob(SCOPE))
        gone = [job for job in jobs if scopes and self._is_gone(job, scopes)]
        self._since = {job.number: self._since.get(job.number, now) for job in gone}
        return [job for job in gone if now >= self._since[job.number] + BEGINS_S]

    def _is_gone(self, job: Job, scopes: Iterable[Path]) -> bool:
        name = JOB.format(job.number)
        return (
            job.state == "RUNNING"
            and job.first_node == self._here
            and not any((scope / name).exists() for scope in scopes)
        )


def look(avoided: Avoided, vanished: Vanished, now: float) -> None:
    """Look at the queue once, and do what is to be done."""
    jobs = parsed_queue(slurm("squeue", "--noheader", "--states=all", f"--format={FORMAT}"))
    avoided.forget_all_but(job.number for job in jobs)
    for job in jobs:
        if job.state == "RUNNING" and has_lost_its_first_node(job):
            say(f"job {job.number} has lost {job.first_node}, from which it was run: once more")
            slurm("scontrol", "requeue", str(job.number))
            avoided.add(job.number, job.first_node, now)
    for job in vanished.among(jobs, now):
        say(f"job {job.number} does not run here any more, as it should: once more")
        slurm("scontrol", "requeue", str(job.number))
    waiting = [job for job in jobs if job.state == "PENDING"]
    if waiting:
        usable = parsed_nodes(slurm("scontrol", "show", "nodes", "--oneliner"))
        for job in waiting:
            ask_for_what_there_is(job, usable, avoided, now)


def has_lost_its_first_node(job: Job) -> bool:
    """Say whether the node that ran the batch script is none of the job's any more."""
    if job.first_node in ("", "n/a", "(null)") or job.nodes in ("", job.first_node):
        return False
    return job.first_node not in expanded(job.nodes)


def ask_for_what_there_is(job: Job, usable: Sequence[Node], avoided: Avoided, now: float) -> None:
    """Let a job that was started before wait for no more than what is left, and no less."""
    wanted = parsed_job(slurm("scontrol", "show", "job", "--oneliner", str(job.number)))
    if not wanted.restarts:
        return
    avoids = expanded(wanted.avoids)
    wants = avoided.instead_of(avoids, job.number, wanted.restarts, usable, now)
    changes: dict[str, int | str] = {}
    if set(wants) != set(avoids):
        changes["ExcNodeList"] = ",".join(wants)
    changes |= fitting(job, wanted, [node for node in usable if node.name not in wants])
    if changes:
        update(job.number, changes)


def expanded(names: str) -> list[str]:
    """Return the nodes that Slurm's short form stands for."""
    return slurm("scontrol", "show", "hostnames", names).split() if names else []


def update(number: int, changes: Mapping[str, int | str]) -> None:
    """Change what a waiting job asks for."""
    words = [f"{name}={value}" for name, value in changes.items()]
    say(f"job {number} is to be started again with {' '.join(words)}")
    slurm("scontrol", "update", f"JobId={number}", *words)


def slurm(*words: str) -> str:
    """Run one of Slurm's commands and return what it printed.

    Raises:
        OSError, subprocess.SubprocessError: It failed; the next look may do better.
    """
    return subprocess.run(
        words, check=True, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
    ).stdout


def say(text: str) -> None:
    """Write a line into the journal."""
    print(text, flush=True)


def complaint(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"{' '.join(error.cmd)}: {' '.join(str(error.stderr).split())[-300:]}"
    return " ".join(str(error).split())


def main(here: str) -> None:
    """Look again and again from the head, ``here``; say once what does not work."""
    avoided, vanished = Avoided(), Vanished(here)
    said = ""
    while True:
        try:
            look(avoided, vanished, time.monotonic())
            said = ""
        except (OSError, subprocess.SubprocessError) as error:
            words = complaint(error)
            if words != said:
                print(f"cannot look after the queue: {words}", file=sys.stderr, flush=True)
            said = words
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main(sys.argv[1])

"""What Slurm says of a job, in plain words: why it waits, why it was refused, how it ended.

The head's program uses this too, so it needs nothing but Python.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from beowulf.errors import BeowulfError, InvalidInput, LaunchError, Unreachable, one_line
from beowulf.job.slurm_nodes import trouble_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from beowulf.job.record import State
    from beowulf.job.slurm_nodes import NodeState

MOST_WORDS = 300
MOST_NODES_NAMED = 3
LOST = LaunchError.exit_status

# Why a job waits: a pattern of squeue's reason, and the words for it. The first that fits counts.
WAITING = (
    (r"None$|$|Cleaning$", "Slurm has not looked at it yet"),
    (r"Priority$", "others come first: jobs that wait longer, or people who used less lately"),
    (r"DependencyNeverSatisfied",
     "waits for a job that did not end as it had to, so it can never start; cancel it"),
    (r"Dependency", "waits for the end of another job"),
    (r"BeginTime", "is not to start before the time that was asked for"),
    (r"PartitionTimeLimit", ("asks for more time than a job may have, so it can't start; "
     "cancel it and ask for a shorter time_limit")),
    (r"PartitionNodeLimit", ("asks for more nodes than a job may have, so it can't start; "
     "cancel it and ask for fewer")),
    (r"Partition(Down|Inactive)", "the queue is closed; ask who looks after the cluster"),
    (r"JobHeldUser", "is held by its owner; let it go with: scontrol release"),
    (r"JobHeldAdmin", "is held by who looks after the cluster; ask there"),
    (r"Reservation", "waits for the nodes that were reserved for it"),
    (r"Licenses", "waits for a licence that others use"),
    (r"JobArrayTaskLimit", "as many jobs of its array run as may at once"),
    (r"BadConstraints", "no node is as it must be, so it can't start; cancel it"),
    (r"launch failed|JobLaunchFailure|NonZeroExitCode|RaisedSignal",
     "could not be started on its nodes; look with: beowulf check"),
    (r"JobHoldMaxRequeue", "failed to start too often; look with: beowulf check"),
    (r"InvalidAccount|InvalidQOS|AssociationJobLimit|.*MaxJobsPerAccount",
     "its account may not run it; ask who looks after the cluster"),
    (r"(QOS|Assoc).*(CPU|Cpu|Mem|Node|GRES|Billing|TRES|RunMinutes)",
     "you would use more at once, or in all, than you may; it starts when jobs of yours end"),
    (r"QOS|Assoc", "as many jobs of yours are there as may be at once"),
)  # fmt: skip
FOR_NODES = re.compile(r"Resources|ReqNodeNotAvail|Nodes required|NodeDown|FrontEndDown")
NAMED_AWAY = re.compile(r"UnavailableNodes:(\S+)")

# Why sbatch refuses: a pattern of its words, the field, what is wrong, and what to do.
FEWER = "ask for less; what there is, says: beowulf nodes"
REFUSED = (
    (r"Memory specification can not be satisfied|memory.*exceed",
     "resources.memory_per_rank_mb", "no node has so much memory", FEWER),
    (r"More processors requested than permitted|Unable to satisfy cpu bind",
     "resources.ranks", "the cluster has not so many cores", FEWER),
    (r"Requested node configuration is not available",
     "resources", "the cluster has not so many nodes, cores or so much memory", FEWER),
    (r"Node count specification invalid|[Mm]aximum node count|Invalid node count",
     "resources.nodes", "this number of nodes makes no sense here", FEWER),
    (r"time limit is invalid|Invalid --time|exceeds.*time limit",
     "resources.time_limit", "it is longer than a job may run, or no time at all",
     "ask for a shorter one"),
    (r"[Ii]nvalid partition", "cluster", "its queue has another name than this job asks for",
     "look with: beowulf check"),
    (r"Invalid node name", "resources.nodes", "a node of this name is not in the cluster",
     "the names are in: beowulf nodes"),
    (r"Invalid feature", "resources", "no node has this feature", "leave it out"),
    (r"generic resource|gres", "resources", "no node has such a device", "leave it out"),
    (r"[Dd]ependency problem", "--after", "Slurm knows no such job any more",
     "leave it out if that job has ended; look with: beowulf jobs"),
    (r"Invalid (account|qos)|account/partition combination|User not found|Invalid user",
     "account", "Slurm's accounts don't let you submit", "ask who looks after the cluster"),
    (r"QOS|Job violates accounting|AssocMax|AssocGrp",
     "limits", "you have more jobs, or ask for more, than you may",
     "wait until jobs of yours have ended: beowulf jobs"),
    (r"too long|too large|Batch script is", "job", "its script or a value in it is too long",
     "put long values into a file"),
    (r"not look like a batch script|batch script contains", "job",
     "Slurm can't read its batch script", "submit it again; if that doesn't help, report it"),
    (r"slurmctld.*(disabled|down)|partition.*(down|drain|unavailable)|not currently available",
     "cluster", "its queue is closed", "ask who looks after the cluster"),
    (r"[Ii]/O error writing script|No space left|[Dd]isk quota exceeded", "disk",
     "the head has no room for the job", "delete what you don't need, on the head"),
)  # fmt: skip
SILENT = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|connect failure"
)
NOISE = re.compile(r"^(sbatch: )?((error|fatal): )?((Batch job submission|allocation) fail\w*: )?")

# How a job ended that left no word of its own: Slurm's state, ours, why, the exit status.
ENDED: dict[str, tuple[State, str, int]] = {
    "COMPLETED": ("FAILED", ("Slurm says that it ended well, but its ranks never wrote that they "
                  "had finished"), LOST),
    "FAILED": ("FAILED", "Slurm says that it failed, and it left no word why; look at its log", 1),
    "CANCELLED": ("CANCELLED", "cancelled", 143),
    "TIMEOUT": ("TIMEOUT", "its time limit was over", 124),
    "DEADLINE": ("TIMEOUT", "it could not end before its deadline", 124),
    "NODE_FAIL": ("FAILED", "a node was lost while it ran", LOST),
    "OUT_OF_MEMORY": ("FAILED", ("it took more memory than it had asked for; give it more "
                      "memory_per_rank_mb"), 137),
    "PREEMPTED": ("CANCELLED", "it had to make way for another job", 143),
    "REVOKED": ("CANCELLED", "another cluster has taken it", 143),
    "BOOT_FAIL": ("FAILED", "a node of its own did not start", LOST),
    "LAUNCH_FAILED": ("FAILED", "it could not be started on its nodes", LOST),
}  # fmt: skip


def waiting_in_words(
    reason: str,
    node_count: str = "",
    nodes: Sequence[NodeState] = (),
    now: datetime | None = None,
) -> str:
    """Say why a job waits, from ``squeue``'s reason, how many nodes it needs, and the nodes.

    A reason that is not known stays as Slurm says it.
    """
    reason = one_line(reason.strip().strip("()"))
    if FOR_NODES.match(reason):
        return _waiting_for_nodes(reason, node_count, nodes, now)
    for pattern, words in WAITING:
        if re.match(pattern, reason):
            return words
    return f"Slurm says: {reason[:MOST_WORDS]}"


def _waiting_for_nodes(
    reason: str, node_count: str, nodes: Sequence[NodeState], now: datetime | None
) -> str:
    match = re.match(r"[0-9]{1,6}", node_count)
    needed = int(match[0]) if match else 1
    needs = f"needs {needed} node{'s' * (needed != 1)}"
    if not nodes:
        away = NAMED_AWAY.search(reason)
        return (
            f"{needs}; away: {away[1]}"
            if away
            else f"{needs}, and waits until others' jobs leave them"
        )
    up = sum(node.is_up for node in nodes)
    away_words = [trouble_in_words(node, now) for node in nodes if not node.is_up]
    # A node that must be there and is not is named too, even if the others would be enough.
    if away_words and (up < needed or not reason.startswith("Resources")):
        more = len(away_words) - MOST_NODES_NAMED
        named = "; ".join(away_words[:MOST_NODES_NAMED]) + (f"; and {more} more" * (more > 0))
        return f"{needs}, {up} {'is' if up == 1 else 'are'} up; {named}"
    free = sum(node.state == "free" for node in nodes)
    return f"{needs}, and waits until others' jobs leave them; {free} of {up} are free now"


def refused_in_words(said: str) -> BeowulfError:
    """Return the error that says why ``sbatch`` refused, with a remedy.

    It is an InvalidInput; Unreachable if Slurm's controller did not answer, of which
    nobody knows whether it took the job.
    """
    lines = [NOISE.sub("", line.strip()) for line in said.splitlines()]
    words = one_line("; ".join(line for line in lines if line))[-MOST_WORDS:]
    if SILENT.search(words):
        return Unreachable(
            f"Slurm's controller does not answer on the head ({words}); "
            "see whether it has the job: beowulf jobs; see what is wrong: beowulf check"
        )
    for pattern, field, problem, remedy in REFUSED:
        if re.search(pattern, words):
            return InvalidInput(field, problem, remedy)
    shown = words or "no reason given"
    return InvalidInput("job", f"Slurm refuses it: {shown}", "look with: beowulf check")


def is_refusal(said: str) -> bool:
    """Say whether these words of ``sbatch`` are known to mean that Slurm did not take the job."""
    return not SILENT.search(said) and any(re.search(words, said) for words, *_ in REFUSED)


def ended_in_words(slurm_state: str, nodes: str = "") -> tuple[State, str, int]:
    """Return the state, the reason and the exit status of a job that left no word of its end.

    It is never COMPLETED: that only the job itself can say. ``nodes`` are those it ran on,
    in Slurm's short form. A state that is not known makes it UNKNOWN, with Slurm's word.
    """
    word, _, by = one_line(slurm_state.strip()).partition(" by ")
    state, reason, exit_code = ENDED.get(
        word.rstrip("+"), ("UNKNOWN", f"Slurm says {word[:80] or 'nothing'}", LOST)
    )
    if by and state == "CANCELLED":
        reason += f" by user {by}"
    if word == "NODE_FAIL" and nodes.strip() not in ("", "(null)", "None assigned"):
        reason = f"a node was lost while it ran on {one_line(nodes.strip())}"
    return state, reason, exit_code

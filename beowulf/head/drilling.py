"""Pull a plug of a running job on the cluster, and tell how it recovers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from beowulf.errors import BeowulfError, InvalidInput
from beowulf.head import fetching, queue
from beowulf.head.following import client_listens
from beowulf.head.records import Slurm, record_of
from beowulf.job.drill import SIGNALS, Plug, find_plug, record_drill
from beowulf.job.events import read_events
from beowulf.job.recovery import watch

if TYPE_CHECKING:
    from beowulf.head.frames import Peer
    from beowulf.job.directory import JobDirectory

PULL_TIMEOUT_S = 30.0
SIGN_OF_LIFE_S = 5.0
# Run on the node as the user: signals processes of this job alone, those given or else all.
# They are looked at first, so that the time told is that of the signal.
PULL = r"""
signal=$1 ours="BEOWULF_JOB_DIR=$2"
shift 2
if [ $# -eq 0 ]; then set -- $(cd /proc && echo [0-9]*); fi
hit=
for process; do
    if [ "$process" != $$ ] && tr '\0' '\n' < "/proc/$process/environ" 2>&- | grep -qxF -e "$ours"
    then hit="$hit $process"; fi
done
date +%s.%N
[ -z "$hit" ] || kill -s "$signal" $hit && echo "$hit"
"""


def aim(peer: Peer, document: dict[str, Any]) -> None:
    """Tell which plug is meant, without touching it."""
    directory = fetching.named(document.get("id"))
    plug = find_plug(
        directory,
        record_of(directory, Slurm()),
        str(document["what"]),
        document.get("rank"),
        document.get("node"),
    )
    peer.tell(plug=plug.to_json())


def drill(peer: Peer, document: dict[str, Any]) -> None:
    """Pull the plug, and tell how the job recovers for as long as the client listens."""
    wanted = Plug.from_json(document["plug"])
    directory = fetching.named(wanted.job_id)
    record = record_of(directory, Slurm())
    node = wanted.host if wanted.what == "cut" or len(wanted.ranks) > 1 else None
    plug = find_plug(directory, record, wanted.what, wanted.ranks[0], node)
    if (plug.attempt, plug.host, plug.pids) != (wanted.attempt, wanted.host, wanted.pids):
        raise InvalidInput(
            "ID", f"job {plug.job_id} has changed since it was looked at", "start the drill again"
        )
    if record.slurm_job_id is None:
        raise BeowulfError(f"job {plug.job_id}: its number in Slurm is not known")
    seen = len(read_events(directory))
    with peer.showing_life():
        pulled_at = pull(directory, plug, record.slurm_job_id)
        record_drill(directory, plug, pulled_at)
    told, told_at = None, 0.0
    for found in watch(directory, seen, pulled_at, lambda: record_of(directory, Slurm())):
        if not client_listens(0):
            return
        if found != told or time.monotonic() > told_at + SIGN_OF_LIFE_S:
            peer.tell(recovery=found.to_json())
            told, told_at = found, time.monotonic()
    peer.tell(over=True)


def pull(directory: JobDirectory, plug: Plug, slurm_job_id: int) -> float:
    """Send the signal on the plug's node and return when that was, in seconds since 1970.

    Raises:
        BeowulfError: Nothing was there to get it, or the node could not be reached.
    """
    processes = [] if plug.what == "cut" else list(map(str, plug.pids))
    told = queue.slurm(
        "srun", f"--jobid={slurm_job_id}", "--overlap", "--mpi=none", "--nodes=1", "--ntasks=1",
        f"--nodelist={plug.host}", "--chdir=/", "--quiet", "sh", "-c", PULL, "drill",
        SIGNALS[plug.what], str(directory.path), *processes,
        timeout_s=PULL_TIMEOUT_S,
    )  # fmt: skip
    moment, *hit = told.split()
    if not hit:
        raise BeowulfError(f"job {plug.job_id}: its processes on {plug.host} are gone already")
    return float(moment)

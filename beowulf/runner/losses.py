"""Ranks that are gone, and whether those that are left can be expected to carry on."""

from __future__ import annotations

import platform
import re
import signal
from typing import TYPE_CHECKING

import psutil

from beowulf.job.heartbeat import KILLED_BY
from beowulf.job.survivors import newest_survivors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from beowulf.job.directory import JobDirectory
    from beowulf.job.heartbeat import Heartbeat


KILLED = 128 + signal.SIGKILL
# This one is also how a launcher ends the ranks that are left when one has failed.
ASKED_TO_END = re.compile(r"killed by signal 15\b")
# What MPI tells those who wanted to talk to a rank that is gone.
MPI_SAYS_GONE = re.compile(r"MPI_ERR_(PROC_FAILED|REVOKED)|MPIX?_ERR_PROC")


def is_lost(heartbeat: Heartbeat) -> bool:
    """Say whether a rank ended because it was taken away or left alone, not by its script."""
    if heartbeat.state != "failed":
        return False
    return not heartbeat.failed_by_itself or MPI_SAYS_GONE.search(heartbeat.error) is not None


def failed_by_itself(heartbeats: Sequence[Heartbeat]) -> Heartbeat | None:
    """Return the rank whose script failed first, unless another rank was lost before that.

    Who loses its partner often fails with words of its own: a connection that was closed, say.
    """
    failed = [beat for beat in heartbeats if beat.state == "failed"]
    own = [beat for beat in failed if not is_lost(beat)]
    first = min(own, key=lambda beat: beat.time, default=None)
    if first is None or any(beat.time < first.time for beat in failed if is_taken(beat)):
        return None
    return first


def is_taken(heartbeat: Heartbeat) -> bool:
    """Say whether a rank was killed, and not merely ended by the launcher after another."""
    said = heartbeat.error
    return (
        heartbeat.state == "failed"
        and said.startswith(KILLED_BY)
        and ASKED_TO_END.match(said) is None
    )


def ended_without_a_word(heartbeats: Sequence[Heartbeat]) -> set[int]:
    """Return the ranks on this host that are gone without having written their end.

    For a moment that is so whenever a rank ends; for longer only if its watcher was killed as well.
    """
    here = platform.node()
    return {
        beat.rank
        for beat in heartbeats
        if beat.state == "running" and beat.host == here and not psutil.pid_exists(beat.pid)
    }


def may_follow_from_another(heartbeat: Heartbeat) -> bool:
    """Say whether a rank may have ended so for no other reason than that another one was lost.

    Open MPI has been seen to crash, or to end a rank with a status of its own, when another is lost
    while it begins.
    """
    if heartbeat.step or heartbeat.state != "failed":
        return False
    crashed = is_taken(heartbeat) and heartbeat.exit_code != KILLED
    return not heartbeat.error or crashed


def first_lost(heartbeats: Sequence[Heartbeat]) -> Heartbeat | None:
    """Return the rank that was lost first: killed rather than ended by others or left alone."""
    lost = [beat for beat in heartbeats if is_lost(beat)]
    return min(lost, key=lambda beat: (_weight(beat), beat.time), default=None)


def _weight(beat: Heartbeat) -> int:
    if is_taken(beat):
        return 0
    return 1 if beat.error.startswith(KILLED_BY) else 2


def done_without(directory: JobDirectory, attempt: int, ranks: int) -> set[int]:
    """Return the ranks without which the others have agreed, in this attempt, to go on."""
    newest = newest_survivors(directory, attempt)
    return set() if newest is None else set(range(ranks)).difference(newest.ranks)


def hosts_of_ranks(heartbeats: Sequence[Heartbeat], ranks: Collection[int]) -> list[str]:
    """Return the hosts of these ranks, each once, in the order of the ranks."""
    return list(dict.fromkeys(beat.host for beat in heartbeats if beat.rank in ranks))


def hosts_left(
    hosts: Sequence[str], heartbeats: Sequence[Heartbeat], without: Collection[int]
) -> list[str]:
    """Return those of hosts that the job still had, with all its ranks or some of them.

    On the others there are only ranks ``without`` which it had gone on.
    """
    still = {beat.host for beat in heartbeats if beat.rank not in without}
    gone = set(hosts_of_ranks(heartbeats, without)) - still
    return [host for host in hosts if host not in gone]

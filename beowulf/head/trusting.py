"""How far the cluster's nodes can be trusted, and which are kept out of new jobs for a while."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from beowulf.durable import read_json, write_json
from beowulf.errors import BeowulfError, InvalidInput
from beowulf.head import queue
from beowulf.head.records import Slurm, job_root
from beowulf.job.directory import JobDirectory
from beowulf.job.events import read_events
from beowulf.job.losses import QUESTION, lost_in, outages, served_in
from beowulf.job.trust import FORGOTTEN_S, NODE_NAME, NodeHistory, Trust, read_trusts, trust_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from beowulf.head.frames import Peer
    from beowulf.job.root import JobRoot

TIMEOUT_S = 3.0  # the database may be away, and a submission does not wait for it
MOST_JOBS = 300  # the newest; older ones are not read
MOST_KEPT = 10_000


def trust(peer: Peer, document: dict[str, Any]) -> None:
    """Tell how far nodes can be trusted; ``node`` names one whose losses count no more."""
    root = job_root()
    node = document.get("node")
    if node is not None:
        with root.report_write_errors():
            forgive(root, str(node), time.time())
    peer.tell(trust=[one.to_json() for one in trusts(root, time.time())])


def trusts(root: JobRoot, now: float) -> list[Trust]:
    """Return the trust in each node of which anything is known."""
    return [trust_in(node, history, now) for node, history in sorted(histories(root, now).items())]


def advice(root: JobRoot, slurm: Slurm) -> dict[str, Any]:
    """Return what a client must know to leave nodes out of a new job; nothing, as a rule.

    ``nodes`` are Slurm's, each with its cores and whether it is up.
    """
    left_out = [one for one in trusts(root, time.time()) if one.left_out_until]
    if not left_out:
        return {}
    nodes = [[node.name, node.cores, node.is_up] for node in slurm.nodes()]
    return {"left_out": [one.to_json() for one in left_out], "nodes": nodes}


def story_of(parts: dict[str, Any]) -> dict[str, Any]:
    """Return what the story of a submission tells of the nodes that the client left out."""
    left_out = read_trusts(parts.get("left_out"))
    return {"left_out": [one.to_json() for one in left_out]} if left_out else {}


def histories(root: JobRoot, now: float) -> dict[str, NodeHistory]:
    """Return what this user's jobs and Slurm's accounts know of each node."""
    losses: dict[str, list[float]] = {}
    served: dict[str, list[tuple[float, float]]] = {}
    for directory, seen_at in _recent_jobs(root, now):
        events = read_events(directory)
        for node, moment in lost_in(events):
            losses.setdefault(node, []).append(moment)
        for node, begin, end in served_in(events, seen_at):
            served.setdefault(node, []).append((begin, end))
    for node, moment in _outages(now):
        losses.setdefault(node, []).append(moment)
    trusted = _trusted(root)
    return {
        node: NodeHistory(
            losses=tuple(losses.get(node, ())),
            served=tuple(served.get(node, ())),
            trusted_at=trusted.get(node),
        )
        for node in losses.keys() | served.keys()
    }


def forgive(root: JobRoot, node: str, now: float) -> None:
    """Write down that what was before counts no more for a node, in this user's own jobs.

    Raises:
        InvalidInput: No node can have this name.
        OSError: It cannot be written.
    """
    if not NODE_NAME.fullmatch(node):
        raise InvalidInput(
            "--trust", f"{node[:60]!r} is no node", "the names are in: beowulf nodes"
        )
    kept = {name: at for name, at in _trusted(root).items() if at > now - FORGOTTEN_S}
    root.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(_trusted_at(root), {**dict(list(kept.items())[-MOST_KEPT:]), node: now})


def _recent_jobs(root: JobRoot, now: float) -> Iterator[tuple[JobDirectory, float]]:
    """Yield the newest jobs of the last weeks, with when each gave its last sign of life."""
    for job_id in root.ids()[-MOST_JOBS:]:
        directory = JobDirectory(root.path / job_id)
        seen_at = 0.0
        for path in (directory.events, directory.metrics, directory.heartbeats):
            with contextlib.suppress(OSError):
                seen_at = max(seen_at, path.stat().st_mtime)
        if seen_at > now - FORGOTTEN_S:
            yield directory, seen_at


def _outages(now: float) -> list[tuple[str, float]]:
    try:
        return outages(queue.slurm(*QUESTION, timeout_s=TIMEOUT_S), now)
    except BeowulfError:  # no accounts, or none for this user: the jobs' stories must do
        return []


def _trusted_at(root: JobRoot) -> Path:
    return root.path.parent / "trusted.json"


def _trusted(root: JobRoot) -> dict[str, float]:
    found = read_json(_trusted_at(root))
    if not isinstance(found, dict):
        return {}
    return {
        node: float(at) for node, at in found.items()
        if isinstance(at, int | float) and NODE_NAME.fullmatch(node)
    }  # fmt: skip

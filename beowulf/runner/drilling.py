"""Pull a plug of a job that runs on this computer."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

from beowulf.errors import BeowulfError, InvalidInput
from beowulf.job.drill import SIGNALS, Plug, find_plug, record_drill
from beowulf.job.events import read_events
from beowulf.job.record import JobRecord, read_record
from beowulf.job.recovery import Recovery, watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beowulf.job.directory import JobDirectory


def aim(
    directory: JobDirectory, record: JobRecord, what: str, rank: int | None, node: str | None
) -> Plug:
    """Return the plug that is meant.

    Raises:
        InvalidInput: This computer is the job's only node, or it has no such rank.
    """
    if what == "cut" or node is not None:
        field = "--cut" if what == "cut" else "--node"
        raise InvalidInput(
            field, f"job {record.id} has no node but this computer", "take --kill or --freeze"
        )
    return find_plug(directory, record, what, rank, None)


def drill(directory: JobDirectory, plug: Plug) -> Iterator[Recovery]:
    """Pull the plug, and yield how the job recovers.

    Raises:
        BeowulfError: The ranks are gone already.
    """
    seen = len(read_events(directory))
    pulled_at = _pull(directory, plug)
    record_drill(directory, plug, pulled_at)
    yield from watch(directory, seen, pulled_at, lambda: read_record(directory))


def _pull(directory: JobDirectory, plug: Plug) -> float:
    import psutil  # noqa: PLC0415 - slow to import

    from beowulf.runner.processes import find_processes  # noqa: PLC0415 - likewise

    victims = [process for process in find_processes(directory) if process.pid in plug.pids]
    pulled_at, hit = time.time(), 0
    for process in victims:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.Signals[f"SIG{SIGNALS[plug.what]}"])
            hit += 1
    if not hit:
        raise BeowulfError(f"job {plug.job_id}: rank {plug.ranks[0]} is gone already")
    return pulled_at

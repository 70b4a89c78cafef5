"""Give a job that ended early to Slurm once more."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from beowulf.durable import write_file
from beowulf.errors import InvalidInput
from beowulf.head import queue
from beowulf.head.records import Slurm, job_root, record_of
from beowulf.head.submission import JOB_ID, KEY, cluster_python, give_to_slurm
from beowulf.job.events import record_event
from beowulf.job.lock import take_lock

if TYPE_CHECKING:
    from beowulf.head.frames import Peer
    from beowulf.job.directory import JobDirectory
    from beowulf.job.record import JobRecord


def resume(peer: Peer, document: dict[str, Any]) -> None:
    """Start a job again that is over and has not completed: the client renders its script."""
    key = str(document.get("key"))
    if not KEY.fullmatch(key):
        raise InvalidInput("key", "is none", "submit again")
    directory = job_root().find(str(document["id"]))
    with job_root().report_write_errors():
        lock = take_lock(directory)
        if lock is None:
            raise _still_running(directory.job_id)
        try:
            if not _was_given(directory, key):
                _restart(peer, directory, key)
        finally:
            os.close(lock)
        peer.tell(job=record_of(directory, Slurm()).to_json())


def _restart(peer: Peer, directory: JobDirectory, key: str) -> None:
    record = record_of(directory, Slurm())
    if record.state == "COMPLETED":
        raise InvalidInput("--resume", f"job {record.id} has completed", "submit it anew")
    if not record.is_over:
        raise _still_running(record.id)
    peer.tell(
        directory.spec.read_bytes(),
        jobs=str(directory.path.parent),
        python=cluster_python(),
        nodes_up=queue.nodes_up(),
        attempt=record.attempt + 1,
    )
    parts = peer.hear().document
    script = str(parts["script"]).replace(JOB_ID, directory.job_id)
    write_file(directory.spec, str(parts["spec"]).encode())
    write_file(directory.batch_script, script.encode())
    _forget_last_attempt(directory, record, parts.get("ranks"))
    write_file(directory.key, key.encode())
    give_to_slurm(directory, key, keep=True)


def _was_given(directory: JobDirectory, key: str) -> bool:
    """Say whether this very request was carried out before its answer was lost."""
    try:
        return directory.key.read_text() == key and directory.slurm_job_id.exists()
    except OSError:
        return False


def _forget_last_attempt(directory: JobDirectory, record: JobRecord, ranks: object) -> None:
    record_event(directory, "resubmitted", attempt=record.attempt + 1, ranks=ranks)
    for leftover in (
        directory.slurm_job_id, directory.exit_code, directory.done,
        directory.cancel_request,
    ):  # fmt: skip
        leftover.unlink(missing_ok=True)
    shutil.rmtree(directory.heartbeats, ignore_errors=True)
    directory.heartbeats.mkdir(exist_ok=True)


def _still_running(job_id: str) -> InvalidInput:
    return InvalidInput(
        "--resume", f"job {job_id} is still running", f"first: beowulf cancel {job_id}"
    )

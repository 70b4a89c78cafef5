"""Give a job that ended early to Slurm once more."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from beowulf.durable import write_file
from beowulf.errors import BeowulfError, InvalidInput, LaunchError
from beowulf.head import queue, trusting
from beowulf.head.endings import write_end
from beowulf.head.frames import JOB_ID
from beowulf.head.given import keys_of
from beowulf.head.queue import SlurmSilent
from beowulf.head.records import Slurm, job_root, record_of
from beowulf.head.submission import (
    checked_key,
    cluster_python,
    give_to_slurm,
    hold_key,
    try_script,
    was_given,
)
from beowulf.job.events import record_event
from beowulf.job.lock import take_lock
from beowulf.job.record import read_record

if TYPE_CHECKING:
    from beowulf.head.frames import Peer
    from beowulf.job.directory import JobDirectory
    from beowulf.job.record import JobRecord


def resume(peer: Peer, document: dict[str, Any]) -> None:
    """Start a job again that is over and has not completed: the client renders its script."""
    key = checked_key(document)
    root = job_root()
    directory = root.find(str(document["id"]))
    with root.report_write_errors(), peer.showing_life(), hold_key(root, key):
        lock = take_lock(directory)
        if lock is None:
            raise InvalidInput(
                "--resume",
                f"job {directory.job_id} is being given to Slurm right now",
                f"look at: beowulf status {directory.job_id}",
            )
        try:
            again = key in keys_of(directory)  # this very request: its answer was lost
            if not again:
                _restart(peer, directory, key)
            elif not was_given(directory, key):
                _give(directory, key)
            record = (
                record_of(directory, Slurm(), held=True)
                if again
                else read_record(directory, responsible=True)
            )
        finally:
            os.close(lock)
    peer.tell(job=record.to_json())


def _restart(peer: Peer, directory: JobDirectory, key: str) -> None:
    record = record_of(directory, Slurm(), held=True)
    if record.state == "COMPLETED":
        raise InvalidInput("--resume", f"job {record.id} has completed", "submit it anew")
    if record.state == "UNKNOWN":
        raise BeowulfError(f"job {record.id}: {record.reason}; nothing was changed")
    if not record.is_over:
        raise InvalidInput(
            "--resume", f"job {record.id} is still running", f"first: beowulf cancel {record.id}"
        )
    try:
        nodes_up = queue.nodes_up()
        peer.tell(
            directory.spec.read_bytes(),
            jobs=str(directory.path.parent),
            python=cluster_python(),
            nodes_up=nodes_up,
            attempt=directory.first_unclaimed(record.attempt + 1),
            **trusting.advice(job_root(), Slurm()),
        )
        parts = peer.hear().document
        script = str(parts["script"]).replace(JOB_ID, directory.job_id)
        try_script(directory, script)
    except SlurmSilent as silent:
        raise BeowulfError(f"{silent}; nothing was changed: resume again when it does") from None
    write_file(directory.spec, str(parts["spec"]).encode())
    write_file(directory.batch_script, script.encode())
    _begin_attempt(directory, record, key, parts)
    _give(directory, key)


def _begin_attempt(
    directory: JobDirectory, last: JobRecord, key: str, parts: dict[str, Any]
) -> None:
    """Write down that a new attempt begins.

    Until ``exit_code`` is gone, the job is one that is over, and can be resumed.
    """
    directory.slurm_job_id.unlink(missing_ok=True)
    record_event(
        directory,
        "resubmitted",
        attempt=directory.first_unclaimed(last.attempt + 1),
        ranks=parts.get("ranks"),
        key=key,
        **trusting.story_of(parts),
    )


def _give(directory: JobDirectory, key: str) -> None:
    for leftover in (directory.done, directory.cancel_request, directory.exit_code):
        leftover.unlink(missing_ok=True)
    shutil.rmtree(directory.heartbeats, ignore_errors=True)
    directory.heartbeats.mkdir(exist_ok=True)
    try:
        give_to_slurm(directory, key)
    except InvalidInput as refusal:
        reason = f"Slurm refused to go on with it: {refusal.problem}"
        write_end(directory, "FAILED", reason, LaunchError.exit_status)
        raise

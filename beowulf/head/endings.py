"""How a job ended that Slurm has done with: its own word first, then Slurm's, then its silence."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beowulf.durable import write_file
from beowulf.errors import LaunchError
from beowulf.head import accounting
from beowulf.job.events import record_event
from beowulf.job.record import FINAL_STATES, read_exit_code, read_record
from beowulf.job.slurm_words import ended_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from beowulf.head.accounting import Past
    from beowulf.head.queue import Queued
    from beowulf.job.directory import JobDirectory
    from beowulf.job.record import JobRecord, State

FORGOTTEN = "Slurm does not know it any more, and it left no word of how it ended"
STILL_WRITES = "Slurm does not know it any more, but its files were written just now"
CANCELLED: tuple[State, str, int] = ("CANCELLED", "cancelled by its owner", 143)
# Slurm's word that a job is over may come before the supervisor's, over NFS.
LAST_WORDS_S = 3.0
POLL_S = 0.1
# Who wrote into a job's directory so lately may still run, whatever Slurm believes.
LIVES_S = 120.0


@dataclass(frozen=True)
class Gone:
    """A job without a word of its end that is over for Slurm, or, without ``told``, forgotten."""

    directory: JobDirectory
    number: int
    told: Queued | None


def settle(gone: Sequence[Gone]) -> list[JobRecord]:
    """Return these jobs' records and write down their ends.

    All of them have one time for their last words, and accounting gets one question.
    """
    _hear_last_words([one.directory for one in gone if one.told is not None])
    asked = {one.number for one in gone if one.told is None and _own_word(one.directory) is None}
    past = accounting.ends(asked)
    return [_settled(one, past) for one in gone]


def write_end(directory: JobDirectory, state: str, reason: str, exit_code: int) -> None:
    """Write down the end of a job that could not do so itself, as its supervisor would."""
    record_event(directory, "ended", state=state, reason=reason, exit_code=exit_code)
    write_file(directory.exit_code, f"{exit_code}\n".encode())


def _hear_last_words(directories: Sequence[JobDirectory]) -> None:
    deadline = time.monotonic() + LAST_WORDS_S
    while time.monotonic() < deadline:
        directories = [one for one in directories if read_exit_code(one) is None]
        if not directories:
            return
        time.sleep(POLL_S)


def _settled(gone: Gone, past: Mapping[int, Past]) -> JobRecord:
    directory = gone.directory
    record = read_record(directory, responsible=False)
    if read_exit_code(directory) is not None:
        return record
    own = _own_word(directory)
    end = own or _slurm_word(gone, past)
    if end is None and _lives(directory):
        return replace(record, state="UNKNOWN", reason=STILL_WRITES, exit_code=None)
    if end is None:
        cancelled = directory.cancel_request.exists()
        end = CANCELLED if cancelled else ("FAILED", FORGOTTEN, LaunchError.exit_status)
    with contextlib.suppress(OSError):  # a full disk: it is asked again the next time
        if record.ended_at is None:
            write_end(directory, *end)
        else:
            write_file(directory.exit_code, f"{end[2]}\n".encode())
        record = read_record(directory, responsible=False)
    state, reason, exit_code = end
    return replace(record, state=state, reason=reason, exit_code=exit_code)


def _own_word(directory: JobDirectory) -> tuple[State, str, int] | None:
    """Return what a job said of its end, if all that is missing is ``exit_code``."""
    record = read_record(directory, responsible=False)
    if record.state == "COMPLETED":  # its ranks wrote so
        return "COMPLETED", record.reason, 0
    if record.ended_at is None:
        return None
    code = record.exit_code
    return record.state, record.reason, LaunchError.exit_status if code is None else code


def _slurm_word(gone: Gone, past: Mapping[int, Past]) -> tuple[State, str, int] | None:
    if gone.told is not None:
        return ended_in_words(gone.told.state, gone.told.nodes)
    then = past.get(gone.number)
    if then is None or then.work_directory != str(gone.directory.path):
        return None
    end = ended_in_words(then.state, then.nodes)
    return end if end[0] in FINAL_STATES else None


def _lives(directory: JobDirectory) -> bool:
    for path in (directory.log, directory.metrics, directory.heartbeats):
        with contextlib.suppress(OSError):
            if abs(time.time() - path.stat().st_mtime) < LIVES_S:
                return True
    return False

"""Answer one request of a client, on standard input, with frames on standard output."""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

from beowulf import errors
from beowulf.errors import BeowulfError, ConnectionLost, one_line
from beowulf.head import cancelling, drilling, fetching, following, resumption, submission, trusting
from beowulf.head.frames import FrameReader, Peer
from beowulf.head.records import Slurm, job_root, record_of, records_of
from beowulf.job.follow import last_words
from beowulf.job.heartbeat import place_of
from beowulf.job.record import in_full, refuse_unless_running

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.job.directory import JobDirectory


def records(peer: Peer, document: dict[str, Any]) -> None:
    """Tell the records of all jobs, or of the newest ``last`` so many."""
    root = job_root()
    last = document.get("last")
    ids = root.ids()[-int(last) if last else 0 :]
    peer.tell(jobs=[record.to_json() for record in records_of(map(root.find, ids))])


def record(peer: Peer, document: dict[str, Any]) -> None:
    """Tell the record of one job; without ID, of the newest.

    ``last_words`` asks for the last of what it printed as well, if it failed.
    """
    directory: JobDirectory = fetching.named(document.get("id"))
    found = in_full(record_of(directory, Slurm()), directory)
    wanted = document.get("last_words") and found.state == "FAILED"
    peer.tell(last_words(directory.log) if wanted else b"", job=found.to_json())


def place(peer: Peer, document: dict[str, Any]) -> None:
    """Tell on which node a rank of a running job is."""
    directory = fetching.named(document.get("id"))
    found = record_of(directory, Slurm())
    refuse_unless_running(found)
    heartbeat = place_of(directory, int(document["rank"]), found.attempt)
    peer.tell(
        place={
            "job_id": found.id,
            "host": heartbeat.host,
            "code": str(directory.code),
            "slurm_job_id": found.slurm_job_id,
        }
    )


# A client that says nothing for so long is gone, though nobody may have said so: a laptop that
# sleeps, a cable that is out. While it is waited for, what it holds is locked for its next try.
CLIENT_SILENCE_S = 120.0

ANSWERS: dict[str, Callable[[Peer, dict[str, Any]], None]] = {
    "record": record,
    "records": records,
    "facts": submission.facts,
    "submit": submission.submit,
    "resume": resumption.resume,
    "cancel": cancelling.cancel,
    "place": place,
    "aim": drilling.aim,
    "drill": drilling.drill,
    "trust": trusting.trust,
    "log": fetching.log,
    "fetch": fetching.fetch,
    "follow": following.follow,
    "wait": following.wait,
}


def main() -> None:
    """Answer the request that comes on standard input."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a submission goes on when the client is cut off
    os.umask(0o077)  # a job's files are its owner's
    peer = Peer(FrameReader(_receive), sys.stdout.buffer)
    try:
        document = peer.hear().document
        ANSWERS[str(document["request"])](peer, document)
    except (BrokenPipeError, ConnectionLost):
        sys.stderr.close()
        os._exit(1)
    except BeowulfError as error:
        peer.tell(error=_wire(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        peer.tell(error=_wire(BeowulfError(f"on the head: {where}{error.strerror or error}")))
    except Exception as error:  # noqa: BLE001 - it must reach the client as words
        said = f"on the head: {type(error).__name__}: {one_line(str(error))}"
        peer.tell(error=_wire(BeowulfError(said)))


def _receive(most: int) -> bytes:
    readable, _, _ = select.select([0], [], [], CLIENT_SILENCE_S)
    if not readable:
        raise ConnectionLost(f"the client has said nothing for {CLIENT_SILENCE_S:.0f} s")
    return os.read(0, most)


def _wire(error: BeowulfError) -> dict[str, Any]:
    """Return an error as it travels: the client raises it again, of the same kind."""
    if isinstance(error, errors.InvalidInput):
        return {
            "kind": "InvalidInput", "field": error.field, "problem": error.problem,
            "remedy": error.remedy,
        }  # fmt: skip
    kinds = [kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__)]
    return {"kind": kinds[0], "message": str(error)}


if __name__ == "__main__":
    main()

"""Take a job from a client and give it to Slurm, exactly once however often it is asked."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from beowulf.durable import write_file
from beowulf.errors import BeowulfError, InvalidInput, LaunchError
from beowulf.head import queue, trusting
from beowulf.head.frames import JOB_ID
from beowulf.head.given import keys_of, read_claim, remember
from beowulf.head.queue import SlurmRefused, SlurmSilent, SlurmUnclear
from beowulf.head.records import Slurm, job_root, record_of
from beowulf.head.store import Entry, Store
from beowulf.job.events import record_event
from beowulf.job.record import read_exit_code, read_record, read_slurm_job_id
from beowulf.job.slurm_words import refused_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from beowulf.head.frames import Frame, Peer
    from beowulf.job.directory import JobDirectory
    from beowulf.job.root import JobRoot

KEY = re.compile(r"[0-9a-f]{32}")
KEYS = ".keys"
T = TypeVar("T")
KEY_KEPT_S = 7 * 24 * 3600


@dataclass(frozen=True)
class Request:
    """What a client asks for when it submits: ``key`` is new for each job, and kept on a retry."""

    key: str
    name: str
    entries: tuple[Entry, ...]
    work_directory: str
    asks_for_nodes: bool = True
    """Whether the script depends on how many nodes are up."""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Request:
        """Check a client's request.

        Raises:
            InvalidInput: Something in it is not as it should be.
        """
        key = checked_key(document)
        entries = tuple(Entry.from_json(value) for value in document["entries"])
        return cls(
            key,
            str(document["name"]),
            entries,
            str(document["work_directory"]),
            bool(document.get("asks_for_nodes", True)),
        )

    @property
    def digests(self) -> list[str]:
        """The contents that it takes."""
        return [entry.content for entry in self.entries if entry.kind == "file"]


def submit(peer: Peer, document: dict[str, Any]) -> None:
    """Take a job: say which files are missing, take those, and give the job to Slurm.

    The client's second message holds the job file, the arguments and the script.
    """
    request = Request.from_json(document)
    root = job_root()
    with root.report_write_errors(), peer.showing_life():
        root.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = Store(root.path.parent / "store")
        with hold_key(root, request.key) as key, contextlib.ExitStack() as held:
            directory = _known(root, key)
            known = directory is not None
            if directory is None:
                directory, lock = _take(peer, request, root, store, key)
                held.callback(os.close, lock)
            if not (known and was_given(directory, request.key)):
                known = False
                _give(directory, request.key)
        # Of a job that was given just now, Slurm has nothing to tell that its files don't.
        record = (
            record_of(directory, Slurm()) if known else read_record(directory, responsible=True)
        )
        peer.tell(job=record.to_json())
        store.sweep()


def facts(peer: Peer, _document: dict[str, Any]) -> None:
    """Tell what a job's script must know of this cluster; nothing is kept."""
    peer.tell(**_facts(job_root(), asks_for_nodes=True))


def _facts(root: JobRoot, *, asks_for_nodes: bool) -> dict[str, Any]:
    try:
        nodes_up = queue.nodes_up() if asks_for_nodes else 0
    except SlurmSilent as silent:
        raise _nothing_kept(silent) from None
    return {
        "jobs": str(root.path), "python": cluster_python(), "nodes_up": nodes_up,
        **trusting.advice(root, Slurm()),
    }  # fmt: skip


def _give(directory: JobDirectory, key: str) -> None:
    try:
        give_to_slurm(directory, key)
    except InvalidInput:
        shutil.rmtree(directory.path, ignore_errors=True)
        raise


def _take(
    peer: Peer, request: Request, root: JobRoot, store: Store, key: Path
) -> tuple[JobDirectory, int]:
    """Take what is missing from the client and make the job's directory, locked."""
    facts_now = _facts(root, asks_for_nodes=request.asks_for_nodes)
    peer.tell(missing=store.missing(request.digests), **facts_now)
    final = _receive_files(peer, store)
    script = str(final.document["script"])

    def stage(staging: JobDirectory) -> None:
        _try(staging, script.replace(JOB_ID, "0"))
        store.lay_out(request.entries, staging.code)
        write_file(staging.spec, str(final.document["spec"]).encode())
        write_file(staging.arguments, final.data)
        staging.heartbeats.mkdir()
        staging.checkpoints.mkdir()
        staging.log.touch()
        record_event(
            staging,
            "submitted",
            name=request.name,
            ranks=final.document.get("ranks"),
            attempt=1,
            work_directory=request.work_directory,
            key=request.key,
            **trusting.story_of(final.document),
        )

    def name(staging: JobDirectory, job_id: str) -> None:
        write_file(staging.batch_script, script.replace(JOB_ID, job_id).encode())
        write_file(key, job_id.encode())  # before anybody can see the job

    return root.create(stage, name)


def _try(staging: JobDirectory, script: str) -> None:
    """Ask Slurm whether it would take the job.

    Raises:
        InvalidInput: It would not.
        BeowulfError: It does not answer.
    """
    try:
        try_script(staging, script)
    except SlurmSilent as silent:
        raise _nothing_kept(silent) from None


def try_script(directory: JobDirectory, script: str) -> None:
    """Ask Slurm whether it would take a job with this script; nothing of it stays.

    Raises:
        InvalidInput: It would not.
        SlurmSilent: It does not answer.
    """
    trial = directory.path / ".trial.sh"
    trial.write_text(script)
    try:
        _translate_refusal(lambda: queue.test(trial))
    finally:
        trial.unlink()


def _nothing_kept(silent: SlurmSilent) -> BeowulfError:
    return BeowulfError(f"{silent}; nothing was kept: submit again when it does")


def _receive_files(peer: Peer, store: Store) -> Frame:
    """Take files until the client's last message, and return that."""
    while True:
        frame = peer.hear()
        digest = frame.document.get("file")
        if digest is None:
            return frame
        store.receive(str(digest), _pieces(peer, frame))


def _pieces(peer: Peer, first: Frame) -> Iterator[bytes]:
    frame = first
    yield frame.data
    while frame.document.get("more"):
        frame = peer.hear()
        yield frame.data


def give_to_slurm(directory: JobDirectory, key: str) -> None:
    """Run sbatch, and write down the number that Slurm gives the job.

    Raises:
        InvalidInput: Slurm refuses the job.
        LaunchError: Whether Slurm has the job is not known, or its number could not be written:
            its directory must stay, and it is found by its key.
    """
    try:
        number = _translate_refusal(lambda: queue.submit(directory.batch_script))
    except SlurmUnclear as unclear:
        with contextlib.suppress(BeowulfError):
            if _is_in_the_queue(directory, key):
                return
        raise _not_known(directory, unclear) from None
    try:
        write_file(directory.slurm_job_id, f"{number}\n".encode())
    except OSError as error:
        raise LaunchError(
            f"job {directory.job_id}: Slurm has it, as {number}, but the head cannot write "
            f"({error.strerror or error}); make room, and look: beowulf status {directory.job_id}"
        ) from None


def was_given(directory: JobDirectory, key: str) -> bool:
    """Say whether Slurm got the job that this key made, of which no answer may have come.

    Raises:
        LaunchError: Slurm does not answer.
    """
    attempt = read_record(directory, responsible=True).attempt
    started = read_claim(directory, attempt) is not None or read_exit_code(directory) is not None
    if started or read_slurm_job_id(directory) is not None:
        return True
    try:
        return _is_in_the_queue(directory, key)
    except BeowulfError as error:
        raise _not_known(directory, error) from None


def _not_known(directory: JobDirectory, why: BeowulfError) -> LaunchError:
    return LaunchError(
        f"job {directory.job_id}: {why}; the job is kept, but whether it is in the queue "
        f"is not known; look later: beowulf status {directory.job_id}"
    )


def _is_in_the_queue(directory: JobDirectory, key: str) -> bool:
    """Look in Slurm's queue for the job that carries this key, and write down its number."""
    found = [one.number for one in queue.ask().values() if one.is_of(directory.job_id, key)]
    if found:
        remember(directory, found[-1])
    return bool(found)


def _translate_refusal(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except SlurmRefused as refusal:
        raise refused_in_words(refusal.said) from None


@contextlib.contextmanager
def hold_key(root: JobRoot, key: str) -> Iterator[Path]:
    """Hold a request's key: who comes with the same one waits until the first is through."""
    keys = root.path / KEYS
    keys.mkdir(mode=0o700, exist_ok=True)
    for path in keys.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > KEY_KEPT_S:
                path.unlink()
    with (keys / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield keys / key


def checked_key(document: dict[str, Any]) -> str:
    """Return a request's key.

    Raises:
        InvalidInput: It is none.
    """
    key = str(document.get("key"))
    if not KEY.fullmatch(key):
        raise InvalidInput("key", "is none", "submit again")
    return key


def _known(root: JobRoot, key: Path) -> JobDirectory | None:
    """Return the job that was made of this key before, if any: the job itself must say so too."""
    try:
        directory = root.find(key.read_text())
    except (OSError, BeowulfError):
        return None
    return directory if key.name in keys_of(directory) else None


def cluster_python() -> str:
    """Return the Python with which ranks run on this cluster.

    Raises:
        InvalidInput: The playbooks have not made it.
    """
    python = Path(os.environ.get("BEOWULF_CLUSTER_PYTHON", "/opt/beowulf/venv/bin/python"))
    if not python.exists():
        raise InvalidInput(
            "cluster", f"there is no {python} on the head", "site.yml makes it: run it again"
        )
    return str(python)

"""Checkpoints that are whole or not there, and never believed without proof.

One directory each::

    checkpoints/step-00000120/
        arrays.npz       the arrays, readable with numpy.load
        manifest.json    {"sha256": of the body, "body": step, run, state, sha256 of arrays.npz}

It is written under another name, flushed to the disk and renamed, and its parent is
flushed too, so that neither a crash nor a power cut leaves half of one behind. Bits
that rot later are found by the checksums, and the checkpoint before it is used.

The other name has the attempt, the process and a random number in it: a writer that was
believed dead and wakes up shares it with nobody, and what a killed one left is removed by
the next attempt.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.durable import sync_directory, write_file
from beowulf.errors import CheckpointError, Fenced
from beowulf.job.directory import ARRAYS, CHECKPOINT_NAME, MANIFEST, checkpoint_name
from beowulf.train.npz import write_npz
from beowulf.train.state import PackedState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMAT = 1
STAGING_NAME = re.compile(r"\.step-[0-9]{8,}(?:\.([0-9]+)-[0-9]+-[0-9a-f]+)?")


@dataclass(frozen=True)
class Checkpoint:
    """A run after ``step`` steps. ``run`` says what it must agree with to go on."""

    step: int
    run: dict[str, Any]
    state: PackedState


@dataclass(frozen=True)
class Loaded:
    """The newest valid checkpoint, if any, and those that were passed over: (name, why)."""

    checkpoint: Checkpoint | None
    rejected: list[tuple[str, str]] = field(default_factory=list)


def always() -> bool:
    """Say that this process may write, as it may where nobody is ever cut off."""
    return True


class CheckpointStore:
    """The checkpoints of one job. Not collective: one rank writes, one rank reads.

    Args:
        directory: Where they are.
        keep: How many of the newest ones stay.
        attempt: Which attempt of the job this is; what writers of earlier ones left is removed.
    """

    def __init__(self, directory: Path, keep: int = 2, attempt: int = 1) -> None:
        if keep < 2:
            raise CheckpointError("keep: at least two checkpoints must be kept")
        self.directory = directory
        self.keep = keep
        self.attempt = attempt

    def save(self, checkpoint: Checkpoint, may_write: Callable[[], bool] = always) -> Path:
        """Write a checkpoint, and remove the oldest ones beyond ``keep`` and all of later steps.

        A run is only ever behind a checkpoint that it could not read. ``may_write`` is asked
        right before the checkpoint gets its name, and again before others are removed.

        Raises:
            OSError: The disk is full; the checkpoints that were there still are.
            Fenced: ``may_write`` says no; likewise.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        final = self.directory / checkpoint_name(checkpoint.step)
        staging = self.directory / self._staging_name(final.name)
        staging.mkdir()
        try:
            _fill(staging, checkpoint)
            _refuse_unless(may_write, checkpoint.step)
            if final.exists():  # the same step again, after a damaged one was passed over
                shutil.rmtree(final)
            staging.rename(final)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        sync_directory(self.directory)
        _refuse_unless(may_write, checkpoint.step)
        newest_first = self._newest_first()
        mine = newest_first.index(final)
        for other in newest_first[:mine] + newest_first[mine + self.keep :]:
            shutil.rmtree(other, ignore_errors=True)
        return final

    def _staging_name(self, name: str) -> str:
        return f".{name}.{self.attempt}-{os.getpid()}-{secrets.token_hex(4)}"

    def _remove_leftovers(self) -> None:
        """Remove what writers of earlier attempts, which were killed, had begun."""
        for path in self.directory.iterdir():
            match = STAGING_NAME.fullmatch(path.name)
            if match and int(match[1] or 0) < self.attempt:
                shutil.rmtree(path, ignore_errors=True)

    def load(self) -> Loaded:
        """Return the newest valid checkpoint and name the damaged ones that are newer."""
        rejected: list[tuple[str, str]] = []
        for path in self._newest_first():
            try:
                return Loaded(read_checkpoint(path), rejected)
            except CheckpointError as error:
                rejected.append((path.name, str(error)))
        return Loaded(None, rejected)

    def _newest_first(self) -> list[Path]:
        try:
            named = [
                path for path in self.directory.iterdir() if CHECKPOINT_NAME.fullmatch(path.name)
            ]
        except FileNotFoundError:
            return []
        return sorted(named, key=lambda path: int(path.name[5:]), reverse=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        CheckpointError: It is damaged; the message says where.
    """
    body = _read_manifest(path / MANIFEST)
    if path.name != checkpoint_name(body["step"]):
        raise CheckpointError(f"{MANIFEST} belongs to step {body['step']}")
    try:
        raw = (path / ARRAYS).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{ARRAYS} cannot be read ({error.strerror})") from error
    if hashlib.sha256(raw).hexdigest() != body["arrays_sha256"]:
        raise CheckpointError(f"{ARRAYS} does not match its checksum")
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            arrays = [archive[str(index)] for index in range(len(archive.files))]
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{ARRAYS} holds something else than arrays ({error})") from error
    return Checkpoint(body["step"], body["run"], PackedState(body["state"], arrays))


def _fill(staging: Path, checkpoint: Checkpoint) -> None:
    with (staging / ARRAYS).open("xb") as file:
        digest = write_npz(file, checkpoint.state.arrays)
    write_file(staging / MANIFEST, _manifest_bytes(checkpoint, digest))  # flushes the directory


def _refuse_unless(may_write: Callable[[], bool], step: int) -> None:
    if not may_write():
        raise Fenced(
            "the job goes on without this rank, which was cut off: its checkpoint after step "
            f"{step} is refused"
        )


def _manifest_bytes(checkpoint: Checkpoint, arrays_digest: str) -> bytes:
    body = {
        "format": FORMAT,
        "step": checkpoint.step,
        "run": checkpoint.run,
        "state": checkpoint.state.tree,
        "arrays_sha256": arrays_digest,
    }
    text = json.dumps(body, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256": "{digest}", "body": {text}}}\n'.encode()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        digest, body = document["sha256"], document["body"]
        text = json.dumps(body, sort_keys=True)
    except OSError as error:
        raise CheckpointError(f"{MANIFEST} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{MANIFEST} is damaged") from error
    if hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() != digest:
        raise CheckpointError(f"{MANIFEST} does not match its checksum")
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CheckpointError(f"{MANIFEST} has another format than {FORMAT}")
    return body

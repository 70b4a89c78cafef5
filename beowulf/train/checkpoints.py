"""Checkpoints that are whole or not there, and never believed without proof.

One directory each::

    checkpoints/step-00000120/
        arrays.npz       the arrays, readable with numpy.load
        manifest.json    {"sha256": of the body, "body": step, run, state, sha256 of arrays.npz}

It is written under another name, flushed to the disk and renamed, and its parent is
flushed too, so that neither a crash nor a power cut leaves half of one behind. Bits
that rot later are found by the checksums, and the checkpoint before it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.durable import sync_directory, write_file
from beowulf.errors import CheckpointError
from beowulf.job.directory import CHECKPOINT_NAME, checkpoint_name
from beowulf.train.state import PackedState

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
ARRAYS = "arrays.npz"
MANIFEST = "manifest.json"


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


class CheckpointStore:
    """The checkpoints of one job. Not collective: one rank writes, one rank reads."""

    def __init__(self, directory: Path, keep: int = 2) -> None:
        if keep < 2:
            raise CheckpointError("keep: at least two checkpoints must be kept")
        self.directory = directory
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, and remove the oldest ones beyond ``keep`` and all of later steps.

        A run is only ever behind a checkpoint that it could not read.

        Raises:
            OSError: The disk is full; the checkpoints that were there still are.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        final = self.directory / checkpoint_name(checkpoint.step)
        staging = self.directory / f".{final.name}"
        shutil.rmtree(staging, ignore_errors=True)  # left by a run that was killed here
        staging.mkdir()
        try:
            arrays = _npz_bytes(checkpoint.state)
            write_file(staging / ARRAYS, arrays)
            write_file(staging / MANIFEST, _manifest_bytes(checkpoint, arrays))
            if final.exists():  # the same step again, after a damaged one was passed over
                shutil.rmtree(final)
            staging.rename(final)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        sync_directory(self.directory)
        newest_first = self._newest_first()
        mine = newest_first.index(final)
        for other in newest_first[:mine] + newest_first[mine + self.keep :]:
            shutil.rmtree(other, ignore_errors=True)
        return final

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


def _npz_bytes(state: PackedState) -> bytes:
    buffer = io.BytesIO()
    named: dict[str, Any] = {str(index): array for index, array in enumerate(state.arrays)}
    np.savez(buffer, **named)
    return buffer.getvalue()


def _manifest_bytes(checkpoint: Checkpoint, arrays: bytes) -> bytes:
    body = {
        "format": FORMAT,
        "step": checkpoint.step,
        "run": checkpoint.run,
        "state": checkpoint.state.tree,
        "arrays_sha256": hashlib.sha256(arrays).hexdigest(),
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

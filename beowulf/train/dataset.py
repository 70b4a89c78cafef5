"""Hold a data set once per node, in memory that all of the node's ranks see."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from mpi4py import MPI

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIGNMENT = 64  # bytes: a cache line, and more than any NumPy type asks for
Data = TypeVar("Data")
DIRECTORY_VARIABLE = "BEOWULF_SHARED_DIRECTORY"
USUAL_DIRECTORY = "/dev/shm"  # noqa: S108 - memory; the name in it is a fresh one, and soon gone
MORE_ROOM = (
    f"make the file system {USUAL_DIRECTORY} larger (in a container: docker run --shm-size=4g), or "
    f"keep the data on the disk: beowulf submit --env {DIRECTORY_VARIABLE}=/var/tmp"
)


@dataclass(frozen=True)
class Slot:
    """Where one array lies in the window: type, shape, and first byte."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    size: int


def load_once_per_node(comm: MPI.Intracomm, load: Callable[[], Data]) -> Data:
    """Call ``load`` on one rank of each node and show its arrays to the node's other ranks.

    ``load`` returns an array, or a sequence or mapping of arrays. Every rank gets the
    same structure of read-only views into one piece of memory, which lives as long as any
    view does. (Not one of MPI's windows: Open MPI does not vouch for these once a rank is
    lost.) Collective: a missing rank leaves the others of its node waiting.

    Raises:
        TrainingError: ``load`` returned something else, or there is no room for it.
    """
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    assert isinstance(node, MPI.Intracomm)  # noqa: S101 - what splitting one gives
    loaded = load() if node.rank == 0 else None
    arrays = _arrays_of(loaded) if node.rank == 0 else []
    shape_of = node.bcast((_structure_of(loaded), _lay_out(arrays)) if node.rank == 0 else None)
    structure, slots = shape_of
    total = slots[-1].offset + slots[-1].size if slots else 0
    whole = _shared(node, total)
    for array, slot in zip(arrays, slots, strict=False):
        _view(whole, slot)[...] = array
    node.Barrier()  # the others must not look before the data is there
    node.Free()
    views = [_view(whole, slot) for slot in slots]
    for view in views:
        view.flags.writeable = False
    data: Data = _rebuild(structure, views)
    return data


def _shared(node: MPI.Intracomm, total: int) -> NDArray[np.uint8]:
    """Return ``total`` bytes that all ranks of the node see. Collective on the node.

    They are a file that has no name any more once everybody has it.
    """
    if not total:
        return np.empty(0, np.uint8)
    directory = os.environ.get(DIRECTORY_VARIABLE, USUAL_DIRECTORY)
    path: str | None = None
    why: str | None = None
    with contextlib.ExitStack() as stack:
        if node.rank == 0:
            try:
                file = stack.enter_context(tempfile.NamedTemporaryFile(dir=directory))
                os.posix_fallocate(file.fileno(), 0, total)
                path = file.name
            except OSError as error:
                why = error.strerror or str(error)
        path, why = node.bcast((path, why))
        if path is None:
            raise TrainingError(
                f"dataset: {total / 1e6:.0f} MB do not fit into this node's shared memory "
                f"({directory}: {why}); {MORE_ROOM}"
            )
        memory = np.memmap(path, np.uint8, "r+", shape=(total,))
        node.Barrier()  # everybody has it
    return memory.view(np.ndarray)


def _arrays_of(loaded: object) -> list[NDArray[Any]]:
    if isinstance(loaded, np.ndarray):
        found: list[object] = [loaded]
    elif isinstance(loaded, Mapping):
        found = list(loaded.values())
    elif isinstance(loaded, Sequence) and not isinstance(loaded, str | bytes):
        found = list(loaded)
    else:
        found = [loaded]
    arrays = [value for value in found if isinstance(value, np.ndarray)]
    if len(arrays) != len(found) or any(array.dtype.hasobject for array in arrays):
        raise TrainingError(
            "dataset: the loading function must return a NumPy array of numbers, "
            "or a tuple or dict of such arrays"
        )
    return arrays


def _structure_of(loaded: object) -> tuple[str, list[Any]]:
    if isinstance(loaded, Mapping):
        return "mapping", list(loaded)
    return ("array", []) if isinstance(loaded, np.ndarray) else ("sequence", [])


def _rebuild(structure: tuple[str, list[Any]], views: list[NDArray[Any]]) -> Any:
    kind, keys = structure
    if kind == "mapping":
        return dict(zip(keys, views, strict=True))
    return views[0] if kind == "array" else tuple(views)


def _lay_out(arrays: Sequence[NDArray[Any]]) -> list[Slot]:
    slots = []
    end = 0
    for array in arrays:
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        slots.append(Slot(array.dtype, array.shape, offset, array.nbytes))
        end = offset + array.nbytes
    return slots


def _view(whole: NDArray[np.uint8], slot: Slot) -> NDArray[Any]:
    part = whole[slot.offset : slot.offset + slot.size]
    return part.view(slot.dtype).reshape(slot.shape)

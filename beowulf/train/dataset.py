"""Hold a data set once per node, in memory that all of the node's ranks see."""

from __future__ import annotations

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
MORE_ROOM = (
    "make the file system /dev/shm larger (in a container: docker run --shm-size=4g), or keep "
    "the data on the disk: beowulf submit --env OMPI_MCA_osc_sm_backing_directory=/var/tmp"
)


@dataclass(frozen=True)
class Slot:
    """Where one array lies in the window: type, shape, and first byte."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    size: int


def load_once_per_node(comm: MPI.Intracomm, load: Callable[[], Data]) -> tuple[Data, MPI.Win]:
    """Call ``load`` on one rank of each node and show its arrays to the node's other ranks.

    ``load`` returns an array, or a sequence or mapping of arrays. Every rank gets the
    same structure of read-only views into one MPI shared-memory window (MPI 4.1,
    section 12.2.3, MPI_Win_allocate_shared), which must be kept as long as the views.
    Collective: a missing rank leaves the others of its node waiting.

    Raises:
        TrainingError: ``load`` returned something else.
    """
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    assert isinstance(node, MPI.Intracomm)  # noqa: S101 - what splitting one gives
    loaded = load() if node.rank == 0 else None
    arrays = _arrays_of(loaded) if node.rank == 0 else []
    shape_of = node.bcast((_structure_of(loaded), _lay_out(arrays)) if node.rank == 0 else None)
    structure, slots = shape_of
    total = slots[-1].offset + slots[-1].size if slots else 0
    window = _allocate(node, total)
    whole = np.empty(0, np.uint8)
    if total:
        memory: Any = window.Shared_query(0)[0]
        whole = np.frombuffer(memory, np.uint8, count=total)
    for array, slot in zip(arrays, slots, strict=False):
        _view(whole, slot)[...] = array
    node.Barrier()  # the others must not look before the data is there
    views = [_view(whole, slot) for slot in slots]
    for view in views:
        view.flags.writeable = False
    return _rebuild(structure, views), window


def _allocate(node: MPI.Intracomm, total: int) -> MPI.Win:
    """Make a window of ``total`` bytes that all ranks of the node see. Collective on the node."""
    try:
        return MPI.Win.Allocate_shared(total if node.rank == 0 else 0, 1, comm=node)
    except MPI.Exception as error:
        raise TrainingError(
            f"dataset: {total / 1e6:.0f} MB do not fit into this node's shared memory; {MORE_ROOM}"
        ) from error


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

"""Write arrays as ``numpy.savez`` does, in pieces, with a checksum of the file.

``numpy.savez`` makes copies and holds Python's lock meanwhile; here a piece goes as it lies
in memory through functions that let other threads run. The file is written once, from its
beginning to its end, so that its checksum is known without reading it again.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PIECE_BYTES = 1 << 20
# Less than this waits to reach the disk, so that others who write there need not wait for long.
UNFLUSHED_BYTES = 32 << 20


def write_npz(file: IO[bytes], arrays: Sequence[NDArray[Any]]) -> str:
    """Write arrays, named "0", "1" and so on, to the disk; return the file's SHA-256.

    Raises:
        OSError: The disk is full.
        TrainingError: An array holds objects, which only pickle could write.
    """
    if any(array.dtype.hasobject for array in arrays):
        raise TrainingError("track: arrays of objects cannot be saved")
    once = _OnceThrough(file)
    with zipfile.ZipFile(once, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]  # needs no more than it has
        for index, given in enumerate(arrays):
            array = np.ascontiguousarray(given).reshape(given.shape)
            with archive.open(f"{index}.npy", "w", force_zip64=True) as member:
                _write(member, array)
    file.flush()
    os.fsync(file.fileno())
    return once.digest.hexdigest()


class _OnceThrough:
    """A file that is written from its beginning to its end: it cannot tell where it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file
        self._unflushed = 0

    def write(self, data: bytes | memoryview) -> int:
        self.digest.update(data)
        written = self._file.write(data)
        self._unflushed += written
        if self._unflushed >= UNFLUSHED_BYTES:
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._unflushed = 0
        return written

    def flush(self) -> None:
        self._file.flush()


def _write(member: IO[bytes], array: NDArray[Any]) -> None:
    try:
        npy.write_array_header_1_0(member, npy.header_data_from_array_1_0(array))
    except ValueError:  # a structure with unusual names, or with very many: NumPy knows how
        npy.write_array(member, array, allow_pickle=False)
        return
    if array.nbytes:
        whole = array.reshape(-1).view(np.uint8).data
        for begin in range(0, len(whole), PIECE_BYTES):
            member.write(whole[begin : begin + PIECE_BYTES])

"""NumPy reads what is written here, and the checksum is the file's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from beowulf.errors import TrainingError
from beowulf.train import npz
from beowulf.train.npz import write_npz

if TYPE_CHECKING:
    from pathlib import Path

ARRAYS: list[Any] = [
    np.arange(7.0),
    np.zeros((0, 3), "f4"),
    np.array(5, "i2"),
    np.asfortranarray(np.arange(12).reshape(3, 4)),
    np.arange(20)[::2],
    np.array(["2026-11-25"], "M8[D]"),
    np.array([(1, 2.0)], [("a", "i4"), ("ü", "f8")]),
    np.array([(1, 2.0)], [("Ā", "i4"), ("b", "f8")]),
    np.zeros(2, [(f"field{index}", "i1") for index in range(5000)]),
]


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("piece", [5, 1 << 20])
def test_numpy_reads_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(npz, "PIECE_BYTES", piece)
    monkeypatch.setattr(npz, "UNFLUSHED_BYTES", 100)
    path = tmp_path / "arrays.npz"
    with path.open("xb") as file:
        digest = write_npz(file, ARRAYS)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    with np.load(path, allow_pickle=False, max_header_size=1_000_000) as archive:
        assert archive.files == [str(index) for index in range(len(ARRAYS))]
        for index, array in enumerate(ARRAYS):
            found = archive[str(index)]
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert np.array_equal(found, array)


def test_objects_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "arrays.npz").open("xb") as file, pytest.raises(TrainingError, match="objec"):
        write_npz(file, [np.zeros(1), np.array([{}], dtype=object)])

"""Write a small data set of real handwriting in MNIST's file format."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEST_SAMPLES = 360


def write_digits(directory: Path) -> None:
    """Write scikit-learn's digits, enlarged to 28 x 28 pixels, as MNIST's four files."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    bytes_each = (small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    enlarged = np.kron(bytes_each, np.ones((1, 3, 3), np.uint8))
    images = np.pad(enlarged, ((0, 0), (2, 2), (2, 2)))
    order = np.random.default_rng(0).permutation(len(images))
    directory.mkdir(parents=True, exist_ok=True)
    for prefix, chosen in (("t10k", order[:TEST_SAMPLES]), ("train", order[TEST_SAMPLES:])):
        write_idx(directory / f"{prefix}-images-idx3-ubyte", images[chosen])
        write_idx(directory / f"{prefix}-labels-idx1-ubyte", labels[chosen])


def write_idx(path: Path, numbers: NDArray[np.generic]) -> None:
    """Write an array of bytes as an IDX file."""
    header = struct.pack(f">HBB{numbers.ndim}I", 0, 8, numbers.ndim, *numbers.shape)
    path.write_bytes(header + numbers.astype(np.uint8).tobytes())

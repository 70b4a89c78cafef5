"""Matrices of low rank: which are worth it, orthonormal rows, products that agree everywhere.

What all ranks must agree on in every bit is computed here by additions and multiplications
of single numbers, never by a matrix product: BLAS adds up in another order on another
processor, and a cluster of cast-off machines has several kinds.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Shape = tuple[int, ...]

BLOCK = 32 * 1024  # numbers that are multiplied out at a time: they stay in the cache
DEPENDENT = 1e-6  # of a row of float32, what is left after so much was taken away is noise
MATRIX = 2


def is_worth_it(shape: Shape, rank: int) -> bool:
    """Say whether two thin matrices have at most half as many numbers as one of this shape."""
    if len(shape) < MATRIX or not math.prod(shape):
        return False
    rows, columns = matrix_shape(shape)
    return 2 * rank * (rows + columns) <= rows * columns


def matrix_shape(shape: Shape) -> tuple[int, int]:
    """Return the rows and columns as which an array is seen: a convolution's filter is a row."""
    return shape[0], math.prod(shape[1:])


def as_matrix(array: Floats) -> Floats:
    """Return a view with two dimensions of an array that is contiguous."""
    return array.reshape(matrix_shape(array.shape))


def numbers_of(shapes: Sequence[Shape]) -> int:
    """Return how many numbers arrays of these shapes have together."""
    return sum(math.prod(shape) for shape in shapes)


def cut(flat: NDArray[Any], shapes: Sequence[Shape]) -> list[NDArray[Any]]:
    """Return views of these shapes that fill ``flat`` one after the other."""
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    return [
        flat[end - math.prod(shape) : end].reshape(shape)
        for end, shape in zip(ends, shapes, strict=True)
    ]


def orthonormalize(rows: Floats) -> None:
    """Make the rows of a matrix orthonormal, in place, from the first to the last.

    By Gram and Schmidt, twice over each row, in float64. A row that depends on those before
    it becomes 0.
    """
    wide = rows.astype(np.float64)
    for number, row in enumerate(wide):
        before = wide[:number]
        length = norm(row)
        for _ in range(2 if number else 0):  # what rounding left of the others goes now
            along = (before * row).sum(axis=1)
            np.subtract(row, (along[:, None] * before).sum(axis=0), out=row)
        left = norm(row)
        is_new = left > DEPENDENT * length
        np.multiply(row, 1 / left if is_new else 0.0, out=row)
    rows[...] = wide


def norm(row: Floats) -> float:
    """Return the length of a vector."""
    return math.sqrt(float((row * row).sum()))


def scale_rows(rows: Floats) -> None:
    """Divide each row by its largest number, in place; what is 0 stays 0."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.where(largest > 0, largest, 1)


def multiply_out(left: Floats, right: Floats, out: Floats) -> None:
    """Set ``out``, of n rows and m columns, to left^T right; they have r rows each.

    Term by term in the order of rows: the same bits on every processor.
    """
    rows, columns = out.shape
    height = max(1, BLOCK // columns)
    scratch = np.empty((min(height, rows), columns), out.dtype)
    for first in range(0, rows, height):
        block = out[first : first + height]
        term = scratch[: len(block)]
        np.multiply(left[0, first : first + height, None], right[0], out=block)
        for one, other in zip(left[1:], right[1:], strict=True):
            np.multiply(one[first : first + height, None], other, out=term)
            block += term

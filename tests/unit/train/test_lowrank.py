"""Low-rank matrices: orthonormal rows, exact products, and which shapes are worth it."""

from __future__ import annotations

import numpy as np
import pytest

from beowulf.train.lowrank import (
    as_matrix,
    cut,
    is_worth_it,
    multiply_out,
    orthonormalize,
    scale_rows,
)

KINDS = ["float32", "float64"]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("condition", [1e0, 1e3])
def test_rows_become_orthonormal_and_span_the_same(dtype: str, condition: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4, 100)).astype(dtype)
    rows[1:] = rows[:1] + rows[1:] / condition  # nearly the same direction
    before = rows.copy()
    orthonormalize(rows)
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(rows @ rows.T, np.eye(4), atol=tolerance)
    np.testing.assert_allclose(before @ rows.T @ rows, before, atol=1e-4)


def test_rows_that_depend_on_others_become_zero() -> None:
    rows = np.array([[3.0, 4.0, 0.0], [6.0, 8.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    orthonormalize(rows)
    expected = np.array([[0.6, 0.8, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(rows, expected)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (300, 500), (2, 100_000), (100_000, 2)])
@pytest.mark.parametrize("dtype", KINDS)
def test_products_are_right_and_summed_in_order(shape: tuple[int, int], dtype: str) -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=(3, size)).astype(dtype) for size in shape)
    out = np.empty(shape, dtype)
    multiply_out(left, right, out)
    terms = [np.multiply.outer(one, other) for one, other in zip(left, right, strict=True)]
    np.testing.assert_array_equal(out, terms[0] + terms[1] + terms[2])


def test_rows_are_scaled_by_their_largest_number() -> None:
    rows = np.array([[1.0, -4.0], [0.0, 0.0]])
    scale_rows(rows)
    np.testing.assert_array_equal(rows, [[0.25, -1.0], [0.0, 0.0]])


def test_only_matrices_that_shrink_to_half_are_worth_it() -> None:
    assert is_worth_it((16, 16), 4)
    assert not is_worth_it((16, 15), 4)
    assert not is_worth_it((1_000_000,), 1)
    assert not is_worth_it((), 1)
    assert not is_worth_it((0, 100), 1)
    assert is_worth_it((32, 16, 3, 3), 4)  # as 32 x 144


def test_views_share_memory() -> None:
    flat = np.zeros(4 + 6 + 1)
    first, second, number = cut(flat, [(4,), (3, 2), ()])
    first[...], second[...], number[...] = 1, 2, 3
    assert flat.tolist() == [1] * 4 + [2] * 6 + [3]
    as_matrix(flat[4:10].reshape(3, 2, 1))[...] = 9
    assert flat[9] == 9

"""What the averaging strategies are made of, without MPI's help."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beowulf.train.averaging import division_by

F4: np.dtype[np.floating] = np.dtype(np.float32)
F8: np.dtype[np.floating] = np.dtype(np.float64)


@pytest.mark.parametrize("dtype", [F4, F8])
@given(data=st.data(), samples=st.sampled_from([1, 2, 3, 29, 64, 100, 256, 1000, 2**20]))
def test_dividing_gives_exactly_what_a_division_gives(
    dtype: np.dtype[np.floating], data: st.DataObject, samples: int
) -> None:
    array = data.draw(hnp.arrays(dtype, 5, elements=hnp.from_dtype(dtype)))
    divide, divisor = division_by(samples)
    with np.errstate(all="ignore"):
        found, expected = divide(array, divisor), array / samples
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_powers_of_two_are_multiplied_by_and_nothing_else_is() -> None:
    multiplied = [n for n in range(1, 70) if division_by(n)[0] is np.multiply]
    assert multiplied == [1, 2, 4, 8, 16, 32, 64]

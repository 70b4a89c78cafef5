"""What the averaging strategies are made of, without MPI's help."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beowulf.train.averaging import LARGE_BYTES, compose, division_by, is_large

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


def test_an_array_is_large_from_a_number_of_bytes_on() -> None:
    assert is_large((F8, (LARGE_BYTES // 8,)))
    assert not is_large((F8, (LARGE_BYTES // 8 - 1,)))
    assert not is_large((F4, (LARGE_BYTES // 8,)))
    assert not is_large((F8, ()))


def test_every_small_array_has_one_place_of_its_shape_in_the_message_of_its_type() -> None:
    large = (F8, (LARGE_BYTES,))
    outlines = [(F4, (2, 3)), (F8, ()), large, (F4, (0,)), (F8, (5,)), (F4, (4,))]
    messages = compose(outlines)
    assert [(m.buffer.dtype, m.buffer.size) for m in messages] == [(F4, 10), (F8, 6)]
    assert [[index for index, _ in m.places] for m in messages] == [[0, 3, 5], [1, 4]]
    for message in messages:
        for number, (index, place) in enumerate(message.places):
            assert (place.dtype, place.shape) == outlines[index]
            place[...] = number + 1
    assert messages[0].buffer.tolist() == [1.0] * 6 + [3.0] * 4
    assert messages[1].buffer.tolist() == [1.0] + [2.0] * 5


def test_there_is_no_message_without_small_arrays() -> None:
    assert compose([(F8, (LARGE_BYTES,))]) == []

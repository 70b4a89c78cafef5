"""Options that make no sense are refused, with a word about which."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from beowulf.errors import TrainingError
from beowulf.train.options import DiLoCo, Options, PowerSGD


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: PowerSGD(rank=0), "rank 0 must be 1 or more"),
        (lambda: PowerSGD(uncompressed_steps=-1), "uncompressed_steps -1"),
        (lambda: DiLoCo(inner_steps=0), "inner_steps 0 must be 1 or more"),
        (lambda: DiLoCo(rate=0.0), "rate 0"),
        (lambda: DiLoCo(momentum=1.0), "momentum 1"),
        (lambda: DiLoCo(parameters="weights"), "list of names"),
    ],
)
def test_options_out_of_range_are_refused(make: Callable[[], Options], what: str) -> None:
    with pytest.raises(TrainingError, match=f"averaging: .*{what}"):
        make()

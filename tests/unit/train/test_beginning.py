"""What a step changed before it averaged is brought back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beowulf.train.beginning import Beginning


def test_generators_and_numbers_are_as_they_were() -> None:
    generator = np.random.default_rng(1)
    tracked: dict[str, Any] = {
        "rng": generator,
        "count": {"steps": 3, "name": "a", "deep": [1, 2.5, {"x": None}]},
        "weights": np.zeros(3),
    }
    beginning = Beginning(tracked)
    beginning.note()
    expected = np.random.default_rng(1).normal(size=4)
    generator.normal(size=7)
    tracked["count"]["steps"] = 4
    tracked["count"]["deep"][1] = 9.0
    tracked["count"]["deep"][2]["x"] = "y"
    tracked["weights"] += 1  # what averaging is for is not brought back here
    beginning.bring_back()
    np.testing.assert_array_equal(generator.normal(size=4), expected)
    assert tracked["count"] == {"steps": 3, "name": "a", "deep": [1, 2.5, {"x": None}]}
    np.testing.assert_array_equal(tracked["weights"], np.ones(3))


def test_a_module_s_statistics_are_as_they_were() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.BatchNorm1d(2)
    beginning = Beginning({"model": layer})
    beginning.note()
    before = [buffer.clone() for buffer in layer.buffers()]
    layer(torch.randn(8, 2))
    beginning.bring_back()
    for buffer, was in zip(layer.buffers(), before, strict=True):
        assert torch.equal(buffer, was)

"""A digest of parameters sees every bit of them, and nothing that ranks may differ in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beowulf.train.identical import digest_of


def some() -> dict[str, Any]:
    return {
        "weights": {"a": np.arange(6.0).reshape(2, 3), "b": [np.zeros((), np.float32)]},
        "empty": np.zeros((0, 3)),
    }


def test_equal_parameters_have_equal_digests_however_they_lie_in_memory() -> None:
    other = some()
    other["weights"]["a"] = np.asfortranarray(other["weights"]["a"])
    assert digest_of(other) == digest_of(some())


def test_the_last_bit_of_any_parameter_counts() -> None:
    for change in ("a", "b"):
        other = some()
        array = other["weights"]["a"] if change == "a" else other["weights"]["b"][0]
        array[...] = np.nextafter(array, 9)
        assert digest_of(other) != digest_of(some())


def test_generators_counters_and_optimizers_may_differ() -> None:
    mine = {**some(), "generator": np.random.default_rng(1), "seen": 3}
    other = {**some(), "generator": np.random.default_rng(2), "seen": 4}
    assert digest_of(mine) == digest_of(other)


@pytest.mark.torch
def test_parameters_of_modules_count_of_any_type() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the optional extra, is not installed")
    for dtype in (torch.float32, torch.bfloat16):
        layer = torch.nn.Linear(3, 2).to(dtype)
        before = digest_of({"model": layer, "list": [layer.bias]})
        assert digest_of({"model": layer, "list": [layer.bias]}) == before
        with torch.no_grad():
            layer.weight[1, 2] += 1
        assert digest_of({"model": layer, "list": [layer.bias]}) != before

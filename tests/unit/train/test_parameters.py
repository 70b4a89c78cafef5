"""Parameters are found among what is tracked, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from beowulf.errors import TrainingError
from beowulf.train.parameters import chosen, parameters_in, statistics_in


def test_what_is_named_is_chosen_or_the_only_one() -> None:
    weights, velocity = np.zeros(1), np.ones(1)
    tracked = {"theta": weights, "weights": velocity}
    assert chosen(tracked, ["theta"]) == {"theta": weights}
    assert chosen(tracked, []) == {"weights": velocity}  # its name says so
    assert chosen({"x": weights}, []) == {"x": weights}


def test_it_must_be_clear_what_the_parameters_are() -> None:
    both = {"theta": np.zeros(1), "velocity": np.ones(1)}
    with pytest.raises(TrainingError, match=r"name them: train\.DiLoCo\(parameters=\['theta'\]"):
        chosen(both, [])
    with pytest.raises(TrainingError, match="under the name 'model', only theta, velocity"):
        chosen(both, ["model"])
    with pytest.raises(TrainingError, match="track them before batches"):
        chosen({}, [])


def test_arrays_are_read_wide_and_written_in_place() -> None:
    half, whole = np.zeros(2, np.float16), np.zeros((2, 2)).T
    found = list(parameters_in({"a": half, "b": [whole, np.arange(3)], "c": 5}))
    assert [parameter.dtype for parameter in found] == [np.float32, np.float64]
    assert [parameter.shape for parameter in found] == [(2,), (2, 2)]
    for parameter in found:
        parameter.write(parameter.read() + 1.5)
    assert half.tolist() == [1.5, 1.5]
    assert whole.tolist() == [[1.5, 1.5], [1.5, 1.5]]
    assert found[1].read() is whole


@pytest.mark.torch
def test_modules_are_chosen_with_their_statistics_and_without_optimizers() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).bfloat16()
    model[0].weight.data = model[0].weight.data.double()
    tracked = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "model": model}
    assert chosen(tracked, []) == {"model": model}
    parameters = list(parameters_in(model))
    assert [parameter.shape for parameter in parameters] == [(3, 2), (3,), (3,), (3,)]
    assert [parameter.dtype for parameter in parameters] == [np.float64] + [np.float32] * 3
    for parameter in [*parameters, *statistics_in(model)]:
        parameter.write(np.full(parameter.shape, 0.25, parameter.dtype))
    assert all((tensor == 0.25).all() for tensor in model.parameters())
    assert (model[1].running_var == 0.25).all()
    assert len(list(statistics_in(model))) == 2  # and not the number of batches, a whole number
    assert not list(statistics_in(np.zeros(1)))

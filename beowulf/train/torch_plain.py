"""Average a PyTorch module's gradients one after the other: what every other way must equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from beowulf.train.torch_statistics import RunningStatistics
from beowulf.train.torch_tensors import as_array, gradient_of, is_shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def average_plainly(
    module: torch.nn.Module,
    average: Callable[[list[NDArray[np.floating]], int], None],
    samples: int,
    share: int,
) -> None:
    """Replace each parameter's ``.grad`` by the global sum divided by ``samples``. Collective.

    ``average`` does so with arrays; ``share`` is how many of the samples this rank had.
    A parameter without a gradient counts as zeros; one without on every rank stays so.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    used = np.array([p.grad is not None for p in parameters], float)
    average([used], 1)
    parameters = [p for p, ranks in zip(parameters, used, strict=True) if ranks]
    gradients = [gradient_of(parameter) for parameter in parameters]
    arrays = [as_array(gradient) for gradient in gradients]
    statistics = RunningStatistics(module)
    means = statistics.weighted(share)
    average([*arrays, means], samples)
    statistics.take(means)
    with torch.no_grad():
        for gradient, array in zip(gradients, arrays, strict=True):
            if not is_shared(gradient):
                gradient.copy_(torch.from_numpy(array))

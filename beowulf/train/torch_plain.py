"""Average a PyTorch module's gradients one after the other: what every other way must equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from beowulf.train.averaging import naive
from beowulf.train.torch_statistics import RunningStatistics
from beowulf.train.torch_tensors import as_array, gradient_of, is_shared

if TYPE_CHECKING:
    from mpi4py import MPI

    from beowulf.train.averaging import Step


def average_plainly(module: torch.nn.Module, comm: MPI.Comm, step: Step) -> None:
    """Replace each parameter's ``.grad`` by the global sum divided by the samples. Collective.

    A parameter without a gradient counts as zeros; one without on every rank stays so.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    used = np.array([p.grad is not None for p in parameters], float)
    naive(comm, [used], 1)
    parameters = [p for p, ranks in zip(parameters, used, strict=True) if ranks]
    gradients = [gradient_of(parameter) for parameter in parameters]
    arrays = [as_array(gradient) for gradient in gradients]
    statistics = RunningStatistics(module)
    means = statistics.weighted(step.share)
    naive(comm, [*arrays, means], step.samples)
    if comm.size > 1:
        statistics.take(means)
    with torch.no_grad():
        for gradient, array in zip(gradients, arrays, strict=True):
            if not is_shared(gradient):
                gradient.copy_(torch.from_numpy(array))

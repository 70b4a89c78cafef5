"""The PyTorch adapter: average a module's gradients, wherever its parameters live.

What PyTorch is asked here is documented at https://docs.pytorch.org/docs/stable/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from mpi4py import MPI
    from numpy.typing import NDArray

    from beowulf.train.averaging import Averaging


def average_module(
    averaging: Averaging,
    comm: MPI.Comm,
    module: torch.nn.Module,
    loss: NDArray[np.float64],
    samples: int,
) -> None:
    """Replace each parameter's ``.grad`` by the global sum divided by ``samples``. Collective.

    A parameter without a gradient, as on a rank with an empty share, counts as zeros:
    every rank must bring the same parameters. 16-bit gradients are exchanged as
    float32, which holds each of their values.
    """
    gradients = [_gradient_of(p) for p in module.parameters() if p.requires_grad]
    arrays = [as_array(gradient) for gradient in gradients]
    averaging(comm, [*arrays, loss], samples)
    with torch.no_grad():
        for gradient, array in zip(gradients, arrays, strict=True):
            if not _is_view(gradient):
                gradient.copy_(torch.from_numpy(array))


def _gradient_of(parameter: torch.nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _is_view(tensor: torch.Tensor) -> bool:
    """Say whether ``as_array`` shares memory with the tensor."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def as_array(tensor: torch.Tensor) -> NDArray[np.floating]:
    """Return a tensor as an array that MPI can add up: a view where possible, else a copy."""
    detached = tensor.detach()
    if not _is_view(tensor):
        wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        detached = detached.to("cpu", wide)
    array: NDArray[np.floating] = detached.numpy()
    return array

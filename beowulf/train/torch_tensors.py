"""PyTorch's gradients as arrays that MPI can add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from beowulf.train.buckets import Outline

SUMMABLE = (torch.float32, torch.float64)


def is_shared(tensor: torch.Tensor) -> bool:
    """Say whether ``as_array`` shares memory with the tensor."""
    return tensor.device.type == "cpu" and tensor.dtype in SUMMABLE


def as_array(tensor: torch.Tensor) -> NDArray[np.floating]:
    """Return a tensor as an array that MPI can add up: a view where possible, else a copy."""
    detached = tensor.detach()
    if not is_shared(tensor):
        wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        detached = detached.to("cpu", wide)
    array: NDArray[np.floating] = detached.numpy()
    return array


def gradient_of(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Return a parameter's gradient, which becomes zeros if it has none."""
    refuse_unsummable(parameter)
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def outline_of(parameter: torch.nn.Parameter) -> Outline:
    """Return type and shape that a parameter's gradient has while it travels: 16 bits as 32."""
    refuse_unsummable(parameter)
    wide = np.float64 if parameter.dtype == torch.float64 else np.float32
    return np.dtype(wide), tuple(parameter.shape)


def refuse_unsummable(parameter: torch.nn.Parameter) -> None:
    """Raise TrainingError unless this parameter's gradient can be added up as an array."""
    if not parameter.dtype.is_floating_point:
        raise TrainingError(
            f"gradients: MPI cannot add up {parameter.dtype} of a parameter of shape "
            f"{list(parameter.shape)}; use floating-point parameters, real and imaginary part apart"
        )
    if parameter.grad is not None and parameter.grad.layout != torch.strided:
        raise TrainingError(
            f"gradients: that of a parameter of shape {list(parameter.shape)} is sparse; make its "
            "layer dense, for an embedding with sparse=False"
        )

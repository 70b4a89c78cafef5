"""See what a user calls gradients (NumPy arrays, a PyTorch module) as arrays to average."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.errors import TrainingError
from beowulf.train.averaging import refuse_unsummable

if TYPE_CHECKING:
    from mpi4py import MPI
    from numpy.typing import NDArray

    from beowulf.train.averaging import Averaging

Gradients = Any  # an array, a sequence or a mapping of arrays, or a torch.nn.Module


def is_torch_module(value: object) -> bool:
    """Say whether ``value`` is a PyTorch module, without importing PyTorch for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def numpy_gradients(gradients: Gradients) -> list[NDArray[np.floating]]:
    """Return the arrays in ``gradients``, in an order that is the same on every rank.

    Raises:
        TrainingError: There is something else in it than floating-point arrays.
    """
    if isinstance(gradients, np.ndarray):
        found: list[object] = [gradients]
    elif isinstance(gradients, Mapping):
        found = [gradients[key] for key in sorted(gradients)]
    elif isinstance(gradients, Sequence) and not isinstance(gradients, str | bytes):
        found = list(gradients)
    else:
        found = [gradients]
    arrays: list[NDArray[np.floating]] = []
    for value in found:
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            what = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise TrainingError(
                f"gradients: expected arrays of floating-point numbers, found {what}; give a "
                "NumPy array, a list or dict of them, or a torch.nn.Module"
            )
        arrays.append(value)
    return arrays


def average_with(
    averaging: Averaging,
    comm: MPI.Comm,
    gradients: Gradients,
    loss: NDArray[np.float64],
    samples: int,
) -> None:
    """Average ``gradients`` and ``loss`` in place, whatever the gradients are. Collective.

    ``loss`` travels with the gradients: an exchange of its own would cost a small
    step more than the arithmetic does.
    """
    if is_torch_module(gradients):
        from beowulf.train.torch_module import average_module  # noqa: PLC0415 - optional extra

        average_module(averaging, comm, gradients, loss, samples)
        return
    arrays = numpy_gradients(gradients)
    wide = [array.astype(np.float32) if array.dtype == np.float16 else array for array in arrays]
    refuse_unsummable(wide)
    averaging(comm, [*wide, loss], samples)
    for array, result in zip(arrays, wide, strict=True):
        if array is not result:
            array[...] = result

"""See what a user calls gradients (NumPy arrays, a PyTorch module) as arrays to average."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.errors import TrainingError
from beowulf.train.averaging import SUMMABLE, refuse_unsummable

if TYPE_CHECKING:
    from mpi4py import MPI
    from numpy.typing import NDArray

    from beowulf.train.averaging import Averaging

Gradients = Any  # an array, a sequence or a mapping of arrays, or a torch.nn.Module


def is_torch_module(value: object) -> bool:
    """Say whether ``value`` is a PyTorch module, without importing PyTorch for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def as_number(loss: Any) -> float:
    """Return a loss as a number, without what PyTorch remembers of a tensor."""
    if isinstance(loss, float):
        return loss
    return float(loss.detach() if hasattr(loss, "detach") else loss)


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

    Raises:
        TrainingError: There is something else in it than floating-point arrays.
    """
    found = _listed(gradients)
    for value in found:
        if not isinstance(value, np.ndarray) or value.dtype not in SUMMABLE:
            break
    else:  # arrays as MPI wants them; every further question would make a small step dearer
        averaging(comm, [*found, loss], samples)
        return
    if is_torch_module(gradients):
        from beowulf.train.torch_module import average_module  # noqa: PLC0415 - optional extra

        average_module(averaging, comm, gradients, loss, samples)
        return
    _average_widened(averaging, comm, found, loss, samples)


def _listed(gradients: Gradients) -> list[Any]:
    """Return what is in ``gradients``, in an order that is the same on every rank."""
    if isinstance(gradients, (dict, Mapping)):  # dict first: an abstract class is slow to ask
        return [gradients[key] for key in sorted(gradients)]
    if isinstance(gradients, (list, tuple, Sequence)) and not isinstance(gradients, str | bytes):
        return list(gradients)
    return [gradients]


def _average_widened(
    averaging: Averaging, comm: MPI.Comm, found: list[Any], loss: NDArray[np.float64], samples: int
) -> None:
    """Average arrays of which some are of 16 bits, which MPI cannot add up. Collective."""
    for value in found:
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            what = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise TrainingError(
                f"gradients: expected arrays of floating-point numbers, found {what}; give a "
                "NumPy array, a list or dict of them, or a torch.nn.Module"
            )
    wide = [array.astype(np.float32) if array.dtype == np.float16 else array for array in found]
    refuse_unsummable(wide)
    averaging(comm, [*wide, loss], samples)
    for array, result in zip(found, wide, strict=True):
        if array is not result:
            array[...] = result

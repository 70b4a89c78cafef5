"""See what a user calls gradients (NumPy arrays, a PyTorch module) as arrays to average."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from beowulf.train.buckets import Outline

Gradients = Any  # an array, a sequence or a mapping of arrays, or a torch.nn.Module

# Open MPI knows no 16-bit floats of NumPy's and adds types that it does not know as bytes,
# without a word. Those that float32 holds are widened, the others refused.
SUMMABLE = frozenset({np.dtype(np.float32), np.dtype(np.float64)})
WIDENED: dict[Any, np.dtype[np.floating]] = {np.dtype(np.float16): np.dtype(np.float32)}


def is_torch_module(value: object) -> bool:
    """Say whether ``value`` is a PyTorch module, without importing PyTorch for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def as_number(loss: Any) -> float:
    """Return a loss as a number, without what PyTorch remembers of a tensor."""
    if isinstance(loss, float):
        return loss
    return float(loss.detach() if hasattr(loss, "detach") else loss)


def listed(gradients: Gradients) -> list[Any]:
    """Return what is in ``gradients``, in an order that is the same on every rank."""
    if isinstance(gradients, (dict, Mapping)):  # dict first: an abstract class is slow to ask
        return [gradients[key] for key in sorted(gradients)]
    if isinstance(gradients, (list, tuple, Sequence)) and not isinstance(gradients, str | bytes):
        return list(gradients)
    return [gradients]


def like(gradients: Gradients, arrays: Sequence[NDArray[Any]]) -> Any:
    """Return ``arrays``, in the order of ``listed``, in a structure like that of ``gradients``."""
    if isinstance(gradients, Mapping):
        found = dict(zip(sorted(gradients), arrays, strict=True))
        return {key: found[key] for key in gradients}
    if isinstance(gradients, Sequence):
        return list(arrays)
    return arrays[0]


def checked(found: list[Any]) -> list[NDArray[np.floating]]:
    """Return the arrays in ``found``.

    Raises:
        TrainingError: There is something else in it than arrays that can be added up.
    """
    for value in found:
        outline_of(value)
    return found


def outline_of(value: Any) -> Outline:
    """Return the type and the shape that an array has while it travels.

    Raises:
        TrainingError: It is something else than an array, or of a type that MPI cannot add.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        what = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise TrainingError(
            f"gradients: expected arrays of floating-point numbers, found {what}; give a "
            "NumPy array, a list or dict of them, or a torch.nn.Module"
        )
    dtype: np.dtype[np.floating] = WIDENED.get(value.dtype) or value.dtype
    if dtype not in SUMMABLE:
        raise TrainingError(
            f"gradients: MPI cannot add up {value.dtype}; convert them to float32 or float64"
        )
    return dtype, value.shape


def blank(gradients: Gradients) -> None:
    """Set gradients to zero, in place."""
    if is_torch_module(gradients):
        for parameter in gradients.parameters():
            if parameter.grad is not None:
                parameter.grad.detach().zero_()
        return
    for array in listed(gradients):
        array[...] = 0.0

"""Find a run's parameters among what it tracks, to read and write them as arrays."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.errors import TrainingError
from beowulf.train.gradients import is_torch_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

WIDE = np.dtype(np.float64)
USUAL = np.dtype(np.float32)
USUAL_NAMES = ("model", "parameters", "params", "weights")


class Parameter:
    """A NumPy array or a PyTorch tensor of floating-point numbers, of whatever type and device."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.shape: tuple[int, ...] = tuple(source.shape)
        self.dtype: np.dtype[np.floating] = WIDE if str(source.dtype).endswith("64") else USUAL

    def read(self) -> Floats:
        """Return the numbers as float32 or float64; a view where that is possible."""
        if isinstance(self._source, np.ndarray):
            return self._source.astype(self.dtype, copy=False)
        from beowulf.train.torch_tensors import as_array  # noqa: PLC0415 - optional extra

        return as_array(self._source)

    def write(self, values: Floats) -> None:
        """Set the numbers, in place."""
        if isinstance(self._source, np.ndarray):
            self._source[...] = values
            return
        import torch  # noqa: PLC0415 - optional extra; the script that has a tensor has it

        with torch.no_grad():
            self._source.copy_(torch.from_numpy(values))


def chosen(tracked: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return those tracked objects that are parameters, by name.

    They are those that are named, or else all PyTorch modules, or else the only one, or else
    those whose names say so.

    Raises:
        TrainingError: There is none of a name, or it is not clear which is meant.
    """
    if names:
        for name in names:
            if name not in tracked:
                raise TrainingError(
                    f"averaging: nothing is tracked under the name {name!r}, only "
                    f"{', '.join(tracked) or 'nothing at all'}; name it in run.track(...)"
                )
        return {name: tracked[name] for name in names}
    modules = {name: value for name, value in tracked.items() if is_torch_module(value)}
    if modules:
        return modules
    if len(tracked) == 1:
        return dict(tracked)
    usual = {name: value for name, value in tracked.items() if name in USUAL_NAMES}
    if usual:
        return usual
    example = next(iter(tracked), "weights")
    raise TrainingError(
        "averaging: diloco must know what the parameters are: track them before batches, and if "
        f"more than one thing is tracked, name them: train.DiLoCo(parameters=[{example!r}])"
    )


def leaves_in(value: Any) -> Iterator[Any]:
    """Yield the arrays and tensors in ``value``, and the parameters of modules, in their order."""
    torch = sys.modules.get("torch")
    if is_torch_module(value):
        yield from value.parameters()
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves_in(item)
    elif isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor)):
        yield value


def parameters_in(value: Any) -> Iterator[Parameter]:
    """Yield the arrays and tensors of floating-point numbers in ``value``, in their order."""
    for leaf in leaves_in(value):
        if leaf.dtype.kind == "f" if isinstance(leaf, np.ndarray) else leaf.is_floating_point():
            yield Parameter(leaf)


def statistics_in(value: Any) -> Iterator[Parameter]:
    """Yield what a PyTorch module keeps besides its parameters, as batch normalisation does."""
    if is_torch_module(value):
        for tensor in value.buffers():
            yield from parameters_in(tensor)

"""What a step may change before it averages: brought back when the step has to be done again."""

from __future__ import annotations

from typing import Any

import numpy as np

from beowulf.train.gradients import is_torch_module
from beowulf.train.state import PLAIN


class Beginning:
    """How random generators, statistics and numbers were when a step began.

    Parameters, and what optimizers hold, are changed only once gradients are averaged; so they
    need no copy. Not collective.
    """

    def __init__(self, tracked: dict[str, Any]) -> None:
        self._generators: list[np.random.Generator] = []
        self._containers: list[dict[Any, Any] | list[Any]] = []
        self._buffers: list[Any] = []
        self._find(tracked)
        self._states: list[Any] = []
        self._numbers: list[dict[Any, Any]] = []
        self._copies: list[Any] = [buffer.clone() for buffer in self._buffers]

    def _find(self, value: Any) -> None:
        if isinstance(value, np.random.Generator):
            self._generators.append(value)
        elif is_torch_module(value):
            self._buffers += [buffer.detach() for buffer in value.buffers()]
        elif isinstance(value, dict | list):
            if any(isinstance(item, PLAIN) for item in _items(value).values()):
                self._containers.append(value)
            for item in _items(value).values():
                self._find(item)

    def note(self) -> None:
        """Note how everything is now."""
        self._states = [generator.bit_generator.state for generator in self._generators]
        self._numbers = [_numbers_in(container) for container in self._containers]
        for buffer, copy in zip(self._buffers, self._copies, strict=True):
            copy.copy_(buffer)

    def bring_back(self) -> None:
        """Set everything to what was noted, in place."""
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.bit_generator.state = state
        for container, numbers in zip(self._containers, self._numbers, strict=True):
            for key, number in numbers.items():
                container[key] = number
        for buffer, copy in zip(self._buffers, self._copies, strict=True):
            buffer.copy_(copy)


def _items(container: dict[Any, Any] | list[Any]) -> dict[Any, Any]:
    return container if isinstance(container, dict) else dict(enumerate(container))


def _numbers_in(container: dict[Any, Any] | list[Any]) -> dict[Any, Any]:
    return {key: item for key, item in _items(container).items() if isinstance(item, PLAIN)}

"""Memory for what lives as long as one exchange, kept for the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIGNMENT_BYTES = 64


class Arena:
    """Lends arrays until all of them are taken back at once. For one thread."""

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)
        self._more: list[NDArray[np.uint8]] = []  # what did not fit; the next block has room for it
        self._taken_bytes = 0

    def take(self, length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of ``length`` numbers with anything in it, valid until ``take_back``."""
        size = length * dtype.itemsize
        first = self._taken_bytes
        self._taken_bytes += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        if first + size <= self._block.size:
            return self._block[first : first + size].view(dtype)
        self._more.append(np.empty(size, np.uint8))
        return self._more[-1].view(dtype)

    def take_back(self) -> None:
        """Declare all arrays unused, those that are still held somewhere too."""
        if self._more:
            self._block = np.empty(self._taken_bytes, np.uint8)
            self._more = []
        self._taken_bytes = 0

"""How numbers look while they travel in parts: as they are, or in 16 bits.

A 16-bit float (IEEE 754 binary16) has 11 significant bits and reaches from 6e-8 to 65504,
which sums of gradients may well leave on either side. So each message brings a power of
two with it, by which its largest number comes to lie between 2^14 and 2^15. That costs 2
bytes, and neither a question to the other ranks nor, being a power of two, a rounding.
Each number is then off by at most 2^-11 of itself, or, where it is smaller than a 2^-29th
of the message's largest, by 2^-40 of that one. (Micikevicius et al., "Mixed Precision
Training", arXiv:1710.03740, scale for the same reason, by one number for all.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from beowulf.train.arena import Arena

    Floats = NDArray[np.floating]
    Message = NDArray[Any]

LARGEST_EXPONENT = 15  # numbers below 2^15, with room for rounding up below 65504
SCALE_EXPONENT = 126  # 2^126 and its reciprocal are ordinary numbers in float32


class Wire(Protocol):
    """A way to write numbers into messages. Arrays that it needs come from an arena."""

    def empty(self, numbers: int, dtype: np.dtype[Any], arena: Arena) -> Message:
        """Return room for a message of so many numbers of this type."""

    def encode(self, values: Floats, arena: Arena) -> Message:
        """Return a message that holds ``values``; it may share their memory."""

    def decode(self, message: Message, values: Floats) -> None:
        """Set ``values`` to what a message holds."""

    def add(self, message: Message, total: Floats, arena: Arena) -> None:
        """Add what a message holds to ``total``, in its own precision."""


class AsTheyAre:
    """Numbers travel as they are."""

    def empty(self, numbers: int, dtype: np.dtype[Any], arena: Arena) -> Message:
        """Return an array of the numbers' own type."""
        return arena.take(numbers, dtype)

    def encode(self, values: Floats, arena: Arena) -> Message:  # noqa: ARG002 - as Wire has it
        """Return the values themselves: nothing is copied."""
        return values

    def decode(self, message: Message, values: Floats) -> None:
        """Copy the message."""
        values[...] = message

    def add(self, message: Message, total: Floats, arena: Arena) -> None:  # noqa: ARG002 - as Wire
        """Add the message."""
        total += message


class Half:
    """Numbers travel as 16-bit floats, scaled by a power of two per message.

    A message of n numbers is n + 1 words of 16 bits: the exponent of the scale, then the
    scaled numbers. What is not finite stays what it is.
    """

    def empty(self, numbers: int, dtype: np.dtype[Any], arena: Arena) -> Message:  # noqa: ARG002 - others need it
        """Return room for the numbers and the exponent."""
        return arena.take(numbers + 1, np.dtype(np.int16))

    def encode(self, values: Floats, arena: Arena) -> Message:
        """Return a message with the values rounded to 16 bits."""
        message = self.empty(values.size, values.dtype, arena)
        exponent = scale_exponent(max(float(values.max()), -float(values.min())))
        message[0] = exponent
        with np.errstate(over="ignore", invalid="ignore"):  # not finite: stays so
            np.multiply(
                values, 2.0**exponent, out=message[1:].view(np.float16), casting="same_kind"
            )
        return message

    def decode(self, message: Message, values: Floats) -> None:
        """Set ``values`` to the message's numbers, each exactly as it was sent."""
        np.multiply(
            message[1:].view(np.float16), 2.0 ** -int(message[0]), out=values, dtype=values.dtype
        )

    def add(self, message: Message, total: Floats, arena: Arena) -> None:
        """Add the message's numbers, each exactly as it was sent."""
        term = arena.take(total.size, total.dtype)
        self.decode(message, term)
        total += term


def scale_exponent(largest: float) -> int:
    """Return by which power of two to scale numbers of at most ``largest``, for 16 bits."""
    if largest == 0 or not math.isfinite(largest):
        return 0
    exponent = LARGEST_EXPONENT - math.frexp(largest)[1]
    return max(-SCALE_EXPONENT, min(SCALE_EXPONENT, exponent))

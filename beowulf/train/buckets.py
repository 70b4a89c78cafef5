"""Lay gradients out in flat buffers of about a megabyte, in the order in which they travel.

A message costs time however little is in it, and a large one can't leave before all of
it is computed. Backward passes compute the last layer first, so buckets are filled from
the last gradient to the first: the first bucket is complete while most work is still to do.
(Li et al., "PyTorch Distributed", VLDB 2020, section 4.2.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from beowulf.limits.wire import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Outline = tuple[np.dtype[np.floating], tuple[int, ...]]  # an array's type and shape

BUCKET_BYTES = MOST_BYTES  # a single gradient may be larger


def bytes_of(outlines: Iterable[Outline]) -> int:
    """Return how many bytes arrays of these types and shapes have together."""
    return sum(math.prod(shape) * dtype.itemsize for dtype, shape in outlines)


@dataclass(frozen=True)
class Bucket:
    """Gradients that travel in one message.

    ``index`` is its place in the order of sending, the same on every rank. ``flat`` is
    contiguous, of one dimension, float32 or float64, and kept from step to step; ``places``
    are views into it, shaped as the gradients they hold.
    """

    index: int
    flat: NDArray[np.floating]
    places: tuple[NDArray[np.floating], ...]


def group(outlines: Sequence[Outline], most_bytes: int = BUCKET_BYTES) -> list[list[int]]:
    """Return which arrays go into each bucket, in the order of sending. Pure.

    Arrays are taken from the last to the first, those of one type together, as many as
    fit into ``most_bytes``; a larger one is alone. The buckets are ordered by their last
    array to be computed.
    """
    filling: dict[np.dtype[np.floating], tuple[list[int], int]] = {}
    full = []
    for index in reversed(range(len(outlines))):
        dtype, shape = outlines[index]
        size = math.prod(shape) * dtype.itemsize
        members, filled = filling.get(dtype, ([], 0))
        if members and filled + size > most_bytes:
            full.append(members)
            members, filled = [], 0
        filling[dtype] = ([*members, index], filled + size)
    full += [members for members, _ in filling.values()]
    return sorted(full, key=lambda members: -members[-1])


def lay_out(
    outlines: Sequence[Outline],
    most_bytes: int = BUCKET_BYTES,
    *,
    room_behind: int = 0,
    first_index: int = 0,
) -> tuple[list[Bucket], list[NDArray[np.floating]], NDArray[np.floating]]:
    """Make the buckets for arrays of these types and shapes, filled with zeros.

    Returns the buckets, each array's place in them, and ``room_behind`` numbers at the
    end of the last bucket's ``flat`` that belong to no array. The first bucket's index is
    ``first_index``, so that no two buckets of a run share one.
    """
    buckets = []
    places: list[NDArray[np.floating]] = [np.empty(0)] * len(outlines)
    groups = group(outlines, most_bytes)
    for number, members in enumerate(groups):
        sizes = [math.prod(outlines[index][1]) for index in members]
        extra = room_behind if number == len(groups) - 1 else 0
        flat = np.zeros(sum(sizes) + extra, outlines[members[0]][0])
        first = 0
        for index, size in zip(members, sizes, strict=True):
            places[index] = flat[first : first + size].reshape(outlines[index][1])
            first += size
        buckets.append(Bucket(first_index + number, flat, tuple(places[i] for i in members)))
    behind = buckets[-1].flat[buckets[-1].flat.size - room_behind :] if buckets else np.empty(0)
    return buckets, places, behind

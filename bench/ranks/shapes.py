"""The shapes of the models that are trained: how many parameters, in which pieces."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

BYTES_PER_NUMBER = 4


def square_layers(count: int, width: int) -> list[tuple[int, ...]]:
    """Return the shapes of equal layers without biases."""
    return [(width, width)] * count


def resnet18() -> list[tuple[int, ...]]:
    """Return the shapes of ResNet-18's parameters (He et al., arXiv:1512.03385), 11.7 million."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    inside = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            shapes += [(width, inside, 3, 3), (width,), (width,)]
            shapes += [(width, width, 3, 3), (width,), (width,)]
            if block == 0 and inside != width:
                shapes += [(width, inside, 1, 1), (width,), (width,)]
            inside = width
    return [*shapes, (1000, 512), (1000,)]


def transformer(width: int = 320, blocks: int = 8, vocabulary: int = 512) -> list[tuple[int, ...]]:
    """Return the shapes of a decoder's parameters, with these numbers 10 million."""
    block: list[tuple[int, ...]] = [
        (3 * width, width), (width, width), (4 * width, width), (width, 4 * width),
        (width,), (width,),
    ]  # fmt: skip
    return [(vocabulary, width), *(shape for _ in range(blocks) for shape in block)]


MODELS: dict[str, list[tuple[int, ...]]] = {
    "0.1 MB": square_layers(4, 80),
    "1 MB": square_layers(6, 204),
    "2.6 MB": square_layers(8, 285),
    "5 MB": square_layers(8, 395),
    "25 MB": square_layers(20, 559),
    "ResNet-18": resnet18(),
    "transformer": transformer(),
}


def bytes_of(shapes: Iterable[tuple[int, ...]]) -> int:
    """Return how many bytes the gradients of such parameters have."""
    return sum(math.prod(shape) for shape in shapes) * BYTES_PER_NUMBER

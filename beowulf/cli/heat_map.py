"""A matrix of links in plain text, shaded, and coloured where there is a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from beowulf.hardware.speeds import mbit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from beowulf.job.measured import WireSpeed

MOST_NUMBERED = 10  # nodes; above that, there is room for shades alone
# From a tenth of the fastest and less to the fastest, by equal factors.
SHADES = "░▒▓█"
COLOURS = ("red", "yellow", "cyan", "green")
TENTH = 10.0


def heat_map(names: Sequence[str], wires: Sequence[WireSpeed]) -> Iterator[str]:
    """Yield the lines of a matrix: from each node (a line) to each other (a column), in Mbit/s."""
    speeds = {(wire.source, wire.target): wire.bytes_per_s for wire in wires}
    most = max(speeds.values())
    numbered = len(names) <= MOST_NUMBERED
    heads = [name if numbered else str(place) for place, name in enumerate(names, 1)]
    labels = [name if numbered else f"{place:>2} {name}" for place, name in enumerate(names, 1)]
    label = max(len("FROM"), *map(len, labels))
    width = max(6 if numbered else 2, *map(len, heads)) + 2 * numbered
    yield click.style(" ".join(["FROM".ljust(label), *(h.rjust(width) for h in heads)]), bold=True)
    for source, name in zip(names, labels, strict=True):
        links = [speeds.get((source, target)) for target in names]
        cells = [_cell(speed, most, width, numbered=numbered) for speed in links]
        yield " ".join([name.ljust(label), *cells])


def _cell(speed: float | None, most: float, width: int, *, numbered: bool) -> str:
    if speed is None:
        return "-".rjust(width)
    level = shade_of(speed / most)
    text = f"{mbit(speed)} {SHADES[level]}" if numbered else SHADES[level] * 2
    return click.style(text.rjust(width), fg=COLOURS[level])


def shade_of(part: float) -> int:
    """Return how dark a part of the fastest is, 0 to 3.

    >>> [shade_of(part) for part in (0.01, 0.1, 0.2, 0.5, 1.0)]
    [0, 0, 1, 2, 3]
    """
    height = 1 + math.log(max(part, 1e-9)) / math.log(TENTH)
    return min(len(SHADES) - 1, max(0, math.floor(height * len(SHADES))))

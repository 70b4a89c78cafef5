"""A table in plain columns, fitted to the terminal where there is one."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from beowulf.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GAP = "  "
LEAST_WIDTH = 12


@dataclass(frozen=True)
class Table:
    """How a table looks: which columns hold words, which is cut first, and which go."""

    words: frozenset[str]
    """Columns aligned to the left; numbers stand on the right."""
    cut_first: str
    first_to_go: tuple[str, ...] = ()
    coloured: str = ""
    """The column whose cells have colours."""

    def show(self, rows: Sequence[Mapping[str, str]], colours: Sequence[str | None] = ()) -> None:
        """Print a heading and one line per row, each with the colour of its coloured cell.

        Jobs of other people are named in some tables: what a terminal would obey is spelled out.
        """
        rows = [{name: one_line(cell) for name, cell in row.items()} for row in rows]
        widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
        if sys.stdout.isatty():
            widths = self.fit(widths, shutil.get_terminal_size().columns)
        click.echo(click.style(self._line({name: name for name in widths}, widths), bold=True))
        for index, row in enumerate(rows):
            colour = colours[index] if index < len(colours) else None
            click.echo(self._line(row, widths, colour))

    def fit(self, widths: Mapping[str, int], available: int) -> dict[str, int]:
        """Return the columns that there is room for, and their widths."""
        kept = dict(widths)
        for name in ("", *self.first_to_go):
            kept.pop(name, None)
            others = sum(kept.values()) - kept[self.cut_first] + len(GAP) * (len(kept) - 1)
            if available - others >= min(kept[self.cut_first], LEAST_WIDTH):
                kept[self.cut_first] = min(kept[self.cut_first], available - others)
                return kept
        kept[self.cut_first] = min(kept[self.cut_first], LEAST_WIDTH)
        return kept

    def _line(
        self, cells: Mapping[str, str], widths: Mapping[str, int], colour: str | None = None
    ) -> str:
        shown = []
        for name, width in widths.items():
            text = cut(cells[name], width)
            text = text.ljust(width) if name in self.words else text.rjust(width)
            is_coloured = colour is not None and name == self.coloured
            shown.append(click.style(text, fg=colour) if is_coloured else text)
        return GAP.join(shown).rstrip()


def cut(text: str, width: int) -> str:
    """Return a text, cut where it is longer than a column."""
    return text if len(text) <= width else f"{text[: width - 1]}…"

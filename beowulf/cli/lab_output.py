"""What ``beowulf lab`` shows: a live table while it works, a listing of nodes."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import click

from beowulf.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from beowulf.lab.status import NodeStatus

COLOURS = {"on": "green", "ready": "green", "off": "yellow", "paused": "magenta", "absent": "white"}
GAP = "  "
REFRESHES_PER_S = 4


class Progress:
    """Show what happens to whom, on stderr: a live table on a terminal, else plain lines."""

    def __init__(self, expected: Iterable[str] = ()) -> None:
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.states = dict.fromkeys(expected, ("waiting", self.began))
        self.first = ""
        self.live: Any = None

    def __enter__(self) -> Self:
        """Begin to show."""
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - heavy, and only for a terminal
            from rich.live import Live  # noqa: PLC0415

            self.live = Live(
                get_renderable=self._table,
                console=Console(stderr=True),
                refresh_per_second=REFRESHES_PER_S,
            )
            self.live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show the last state and stop."""
        if self.live is not None:
            self.live.__exit__(kind, error, traceback)

    def report(self, who: str, what: str) -> None:
        """Show that something happens to a node, the image or the lab. Any thread may call it."""
        with self.lock:
            now = time.monotonic()
            self.states[who] = (what, now)
            if who not in {"lab", "image"}:
                self.first = self.first or who
            if self.live is None:
                say(f"{now - self.began:6.1f} s  {who}: {what}")

    def _table(self) -> Any:
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 2))
        with self.lock:
            for who, (what, since) in self.states.items():
                ended = what in {"ready", "off", "destroyed"} or what.startswith("saved")
                clock = since if ended else time.monotonic()
                table.add_row(
                    Text(f"{clock - self.began:6.1f} s"),
                    Text(who),
                    Text(what, COLOURS.get(what, "")),
                )
        return table


def print_nodes(nodes: list[NodeStatus]) -> None:
    """Print one line per node."""
    head = ("NODE", "STATE", "ADDRESS", "MEMORY", "CABLE", "IMAGE", "DISK")
    rows = [head, *(_cells(node) for node in nodes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for index, row in enumerate(rows):
        cells = [
            cell.rjust(width) if head[column] in {"MEMORY", "DISK"} else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        if index:
            cells[1] = click.style(cells[1], fg=COLOURS.get(row[1]))
        line = GAP.join(cells).rstrip()
        click.echo(line if index else click.style(line, bold=True))


def _cells(node: NodeStatus) -> tuple[str, ...]:
    cable = node.cable
    if cable is None or node.state == "absent":
        words = "-"
    else:
        words = (
            ", ".join(filter(None, ("" if cable.connected else "cut", cable.rate))) or "connected"
        )
    return (
        node.machine.name,
        node.state,
        node.machine.address,
        f"{node.machine.memory_mb} MB",
        words,
        node.image or "-",
        f"{node.disk_mb:.1f} MB",
    )

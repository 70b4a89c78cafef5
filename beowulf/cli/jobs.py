"""``beowulf jobs``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from beowulf.cli.output import (
    STATE_COLOURS,
    duration,
    json_option,
    number,
    print_json,
    say,
)
from beowulf.runner.local import LocalBackend

if TYPE_CHECKING:
    from beowulf.runner.record import JobRecord

WIDE = 1000


@click.command("jobs")
@click.option("--last", type=click.IntRange(min=1), help="Only the newest so many.")
@json_option
def command(last: int | None, as_json: bool) -> None:
    """List your jobs, finished ones included, newest last."""
    records = LocalBackend().records()[-last if last else 0 :]
    if as_json:
        print_json(jobs=[record.to_json() for record in records])
    elif records:
        _print_table(records)
    else:
        say("no jobs yet; start one with: beowulf submit train.py")


def _print_table(records: list[JobRecord]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "ID",
        "NAME",
        "STATE",
        "RANKS",
        "STEP",
        "LOSS",
        "ELAPSED",
        "SUBMITTED",
        "REASON",
    ):
        right = heading in ("ID", "RANKS", "STEP", "LOSS", "ELAPSED")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for record in records:
        table.add_row(
            record.id,
            Text(record.name),  # as it is: in a plain string, [brackets] would be markup
            Text(record.state, style=STATE_COLOURS.get(record.state, "")),
            str(record.ranks or "-"),
            _steps(record),
            number(record.progress.loss if record.progress else None),
            duration(record.elapsed_s),
            _local_time(record.submitted_at),
            Text(record.reason),
        )
    console = Console()
    if not console.is_terminal:
        console.width = WIDE  # nothing is cut off where a program reads
    console.print(table)


def _steps(record: JobRecord) -> str:
    if record.progress is None:
        return "-"
    total = f"/{record.progress.total_steps}" if record.progress.total_steps else ""
    return f"{record.progress.step}{total}"


def _local_time(utc: str | None) -> str:
    return datetime.fromisoformat(utc).astimezone().strftime("%b %d %H:%M") if utc else "-"

"""``beowulf jobs``."""

from __future__ import annotations

import shutil
import sys
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
from beowulf.cli.parameters import cluster_option
from beowulf.errors import one_line
from beowulf.runner.choice import open_backend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beowulf.job.record import JobRecord

GAP = "  "
WORDS = ("NAME", "STATE", "SUBMITTED", "REASON")
FIRST_TO_GO = ("SUBMITTED", "ELAPSED", "LOSS")
LEAST_REASON = 12


@click.command("jobs")
@click.option("--last", type=click.IntRange(min=1), help="Only the newest so many.")
@cluster_option
@json_option
def command(last: int | None, cluster: str | None, as_json: bool) -> None:
    """List your jobs, finished ones included, newest last."""
    records = open_backend(cluster).records(last)
    if as_json:
        print_json(jobs=[record.to_json() for record in records])
    elif records:
        _print_table(records)
    else:
        say("no jobs yet; start one with: beowulf submit train.py")


def _print_table(records: list[JobRecord]) -> None:
    """Print one line per job. On a terminal nothing but the reason is ever cut off."""
    rows = [{name: one_line(cell) for name, cell in _cells(record).items()} for record in records]
    columns = [*rows[0]]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in columns}
    if sys.stdout.isatty():
        columns, widths = fit(widths, shutil.get_terminal_size().columns)
    click.echo(click.style(_line({name: name for name in columns}, widths), bold=True))
    for row in rows:
        shown = {name: _cut(row[name], widths[name]) for name in columns}
        click.echo(_line(shown, widths, state_colour=STATE_COLOURS.get(row["STATE"])))


def fit(widths: Mapping[str, int], available: int) -> tuple[list[str], dict[str, int]]:
    """Return the columns that a terminal has room for, and their widths.

    The reason is cut first, then columns go, the dearest to do without last.
    """
    kept = dict(widths)
    for name in ("", *FIRST_TO_GO):
        kept.pop(name, None)
        others = sum(kept.values()) - kept["REASON"] + len(GAP) * (len(kept) - 1)
        if available - others >= min(kept["REASON"], LEAST_REASON):
            kept["REASON"] = min(kept["REASON"], available - others)
            return list(kept), kept
    kept["REASON"] = min(kept["REASON"], LEAST_REASON)
    return list(kept), kept


def _cells(record: JobRecord) -> dict[str, str]:
    return {
        "ID": record.id,
        "NAME": record.name,
        "STATE": record.state,
        "RANKS": str(record.ranks or "-"),
        "STEP": _steps(record),
        "LOSS": number(record.progress.loss if record.progress else None),
        "ELAPSED": duration(record.elapsed_s),
        "SUBMITTED": _local_time(record.submitted_at),
        "REASON": record.reason,
    }


def _line(
    cells: Mapping[str, str], widths: Mapping[str, int], state_colour: str | None = None
) -> str:
    """Return one line of the table: numbers to the right, words to the left."""
    aligned = {
        name: text.ljust(widths[name]) if name in WORDS else text.rjust(widths[name])
        for name, text in cells.items()
    }
    if state_colour:
        aligned["STATE"] = click.style(aligned["STATE"], fg=state_colour)
    return GAP.join(aligned.values()).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _steps(record: JobRecord) -> str:
    if record.progress is None:
        return "-"
    total = f"/{record.progress.total_steps}" if record.progress.total_steps else ""
    return f"{record.progress.step}{total}"


def _local_time(utc: str | None) -> str:
    return datetime.fromisoformat(utc).astimezone().strftime("%b %d %H:%M") if utc else "-"

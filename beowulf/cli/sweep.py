"""Submit a sweep, wait for its jobs, and show what came of each in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beowulf.cli.output import STATE_COLOURS, number, print_json, say
from beowulf.cli.wait import exit_status_of
from beowulf.errors import BeowulfError, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from beowulf.job.record import JobRecord
    from beowulf.runner.backend import Backend
    from beowulf.runner.spec import JobSpec
    from beowulf.runner.sweep import Trial

GAP = "  "
INTERRUPTED = 130


def sweep(  # noqa: PLR0913 - what the command line gave, named at the call
    backend: Backend,
    spec: JobSpec,
    work_directory: Path,
    trials: Sequence[Trial],
    *,
    after: Sequence[str],
    detach: bool,
    as_json: bool,
) -> int:
    """Submit a job for each trial and return the exit status of the first that failed.

    A cluster gets all of them at once and does what it can at a time. This computer
    does one after the other, since each of them may want all of it.

    Raises:
        BeowulfError: One could not be submitted. Those before it were waited for, and are told.
    """
    records: list[JobRecord] = []
    refusal: BeowulfError | None = None
    try:
        for trial in trials:
            try:
                record = backend.submit(trial.of(spec), work_directory, after)
            except BeowulfError as error:
                if not records:
                    raise
                refusal = error
                say(f"not submitted: {' '.join(trial.words)}: {error}; the jobs before it go on")
                break
            records.append(record)
            say(f"job {record.id}: {' '.join(trial.words)}")
            if backend.cluster is None and not detach:
                backend.wait([record.id])
        if not detach:
            records = _wait(backend, records)
    except KeyboardInterrupt:
        say(f"\n{_to_return(records)}")
        return INTERRUPTED
    _tell(trials[: len(records)], records, as_json=as_json)
    if refusal is not None:
        raise refusal
    if detach:
        return 0
    return next((status for status in map(exit_status_of, records) if status), 0)


def _wait(backend: Backend, records: Sequence[JobRecord]) -> list[JobRecord]:
    """Wait for the jobs of a sweep; where that fails, say how to come back to them."""
    try:
        return backend.wait([record.id for record in records])
    except BeowulfError:
        say(_to_return(records))
        raise


def _to_return(records: Sequence[JobRecord]) -> str:
    ids = " ".join(record.id for record in records)
    return f"the jobs go on without you; to return: beowulf wait {ids}"


def _tell(trials: Sequence[Trial], records: Sequence[JobRecord], *, as_json: bool) -> None:
    if not as_json:
        _print_table(trials, records)
        return
    settings = [dict(trial.settings) for trial in trials]
    jobs = [
        {**record.to_json(), "settings": setting}
        for record, setting in zip(records, settings, strict=True)
    ]
    print_json(jobs=jobs)


def _print_table(trials: Sequence[Trial], records: Sequence[JobRecord]) -> None:
    """Print one line per job: its settings, its state, and what it reported."""
    reported = list(
        dict.fromkeys(
            name
            for record in records
            for name, value in (record.result or {}).items()
            if isinstance(value, int | float)
        )
    )
    header = [
        "ID", *(name for name, _ in trials[0].settings), "STATE", *map(one_line, reported),
    ]  # fmt: skip
    rows = [
        [record.id, *(one_line(value) for _, value in trial.settings), record.state,
         *(_shown((record.result or {}).get(name)) for name in reported)]
        for trial, record in zip(trials, records, strict=True)
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    click.echo(click.style(_line(header, widths), bold=True))
    for row, record in zip(rows, records, strict=True):
        click.echo(click.style(_line(row, widths), fg=STATE_COLOURS.get(record.state)))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _shown(value: object) -> str:
    return number(value) if isinstance(value, float) else "-" if value is None else str(value)

"""Submit a sweep, wait for its jobs, and show what came of each in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beowulf.cli.output import STATE_COLOURS, number, print_json, say
from beowulf.cli.wait import exit_status_of

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
    """
    job_ids: list[str] = []
    try:
        for trial in trials:
            directory = backend.submit(trial.of(spec), work_directory, after)
            job_ids.append(directory.job_id)
            say(f"job {directory.job_id}: {' '.join(trial.words)}")
            if backend.cluster is None and not detach:
                backend.wait([directory.job_id])
        records = [backend.record(job_id) for job_id in job_ids] if detach else []
        records = records or backend.wait(job_ids)
    except KeyboardInterrupt:
        say(f"\nthe jobs go on without you; to return: beowulf wait {' '.join(job_ids)}")
        return INTERRUPTED
    if as_json:
        settings = [dict(trial.settings) for trial in trials]
        jobs = [
            {**record.to_json(), "settings": setting}
            for record, setting in zip(records, settings, strict=True)
        ]
        print_json(jobs=jobs)
    else:
        _print_table(trials, records)
    if detach:
        return 0
    return next((status for status in map(exit_status_of, records) if status), 0)


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
    header = ["ID", *(name for name, _ in trials[0].settings), "STATE", *reported]
    rows = [
        [record.id, *(value for _, value in trial.settings), record.state,
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

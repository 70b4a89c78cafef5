"""``beowulf wait``."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import click

from beowulf.cli.output import json_option, print_json
from beowulf.cli.parameters import job_argument
from beowulf.errors import LaunchError
from beowulf.job.record import JobRecord, read_record
from beowulf.runner.local import LocalBackend

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory

POLL_S = 0.1


@click.command("wait")
@job_argument(nargs=-1, required=True)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), help="Give up after so many seconds."
)
@json_option
def command(job_ids: tuple[str, ...], timeout_s: float | None, as_json: bool) -> int:
    """Wait for jobs to end and return their exit status: the first that is not 0."""
    if timeout_s is not None and math.isnan(timeout_s):
        raise click.BadParameter("nan is no number of seconds", param_hint="'--timeout'")
    backend = LocalBackend()
    directories = [backend.find(job_id) for job_id in job_ids]
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    records = [wait_for(directory, deadline) for directory in directories]
    if as_json:
        print_json(jobs=[record.to_json() for record in records])
    else:
        for record in records:
            click.echo(f"{record.id} {record.state}")
    return next((status for status in map(exit_status_of, records) if status), 0)


def wait_for(directory: JobDirectory, deadline: float | None = None) -> JobRecord:
    """Return a job's record once the job is over.

    Raises:
        LaunchError: ``deadline``, on the monotonic clock, has passed.
    """
    while not (record := read_record(directory)).is_over:
        if deadline is not None and time.monotonic() > deadline:
            raise LaunchError(f"job {record.id} is still {record.state}; wait longer or cancel it")
        time.sleep(POLL_S)
    return record


def exit_status_of(record: JobRecord) -> int:
    """Return a finished job's own exit status, or 125 if its supervisor could not write one."""
    if record.exit_code is not None:
        return record.exit_code
    return 0 if record.state == "COMPLETED" else LaunchError.exit_status

"""``beowulf wait``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from beowulf.cli.output import json_option, print_json
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.errors import LaunchError
from beowulf.runner.choice import open_backend

if TYPE_CHECKING:
    from beowulf.job.record import JobRecord


@click.command("wait")
@job_argument(nargs=-1, required=True)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), help="Give up after so many seconds."
)
@cluster_option
@json_option
def command(
    job_ids: tuple[str, ...], timeout_s: float | None, cluster: str | None, as_json: bool
) -> int:
    """Wait for jobs to end and return their exit status: the first that is not 0."""
    if timeout_s is not None and math.isnan(timeout_s):
        raise click.BadParameter("nan is no number of seconds", param_hint="'--timeout'")
    records = open_backend(cluster).wait(job_ids, timeout_s)
    if as_json:
        print_json(jobs=[record.to_json() for record in records])
    else:
        for record in records:
            click.echo(f"{record.id} {record.state}")
    return next((status for status in map(exit_status_of, records) if status), 0)


def exit_status_of(record: JobRecord) -> int:
    """Return a finished job's own exit status, or 125 if its supervisor could not write one."""
    if record.exit_code is not None:
        return record.exit_code
    return 0 if record.state == "COMPLETED" else LaunchError.exit_status

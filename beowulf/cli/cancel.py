"""``beowulf cancel``."""

from __future__ import annotations

import click

from beowulf.cli.output import json_option, print_json
from beowulf.cli.parameters import job_argument
from beowulf.errors import JobNotFound
from beowulf.runner.local import LocalBackend


@click.command("cancel")
@job_argument(nargs=-1, required=True)
@json_option
def command(job_ids: tuple[str, ...], as_json: bool) -> None:
    """End jobs and every process of theirs. A job that is over stays as it is."""
    backend = LocalBackend()
    for job_id in job_ids:
        try:
            backend.find(job_id)
        except JobNotFound as error:
            raise JobNotFound(f"{error}; nothing was cancelled") from None
    records = [backend.cancel(job_id) for job_id in job_ids]
    if as_json:
        print_json(jobs=[record.to_json() for record in records])
        return
    for record in records:
        click.echo(f"{record.id} {record.state}")

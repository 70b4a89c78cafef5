"""``beowulf cancel``."""

from __future__ import annotations

import click

from beowulf.cli.output import json_option, print_json
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.runner.choice import open_backend


@click.command("cancel")
@job_argument(nargs=-1, required=True)
@cluster_option
@json_option
def command(job_ids: tuple[str, ...], cluster: str | None, as_json: bool) -> None:
    """End jobs and every process of theirs. A job that is over stays as it is."""
    records = open_backend(cluster).cancel(job_ids)
    if as_json:
        print_json(jobs=[record.to_json() for record in records])
        return
    for record in records:
        click.echo(f"{record.id} {record.state}")

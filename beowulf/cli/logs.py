"""``beowulf logs``."""

from __future__ import annotations

import sys

import click

from beowulf.cli.output import json_option, print_json
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.runner.choice import open_backend


@click.command("logs")
@job_argument(required=False)
@click.option("-f", "--follow", "keep_following", is_flag=True, help="Go on until the job ends.")
@click.option("--tail", type=click.IntRange(min=0), help="Only the last so many lines.")
@cluster_option
@json_option
def command(
    job_id: str | None, keep_following: bool, tail: int | None, cluster: str | None, as_json: bool
) -> None:
    """Show what a job prints. Without ID: the newest job."""
    if as_json and keep_following:
        raise click.UsageError("--json prints one document and cannot follow; leave out -f")
    backend = open_backend(cluster)
    log = backend.log(job_id, tail)
    if as_json:
        lines = log.data.decode(errors="replace").splitlines()
        print_json(log={"id": log.job_id, "offset": log.offset, "lines": lines})
        return
    _write(log.data)
    if keep_following:
        for news in backend.follow(log.job_id, log.offset):
            _write(news.log)


def _write(text: bytes) -> None:
    """Pass the ranks' bytes on as they are."""
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()

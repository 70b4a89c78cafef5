"""``beowulf logs``."""

from __future__ import annotations

import sys

import click

from beowulf.cli.harmless import log_writer
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
    if as_json:
        pieces: list[bytes] = []
        log = backend.log(job_id, tail, pieces.append)
        lines = b"".join(pieces).decode(errors="replace").splitlines()
        print_json(log={"id": log.job_id, "offset": log.offset, "lines": lines})
        return
    write = log_writer(sys.stdout)
    log = backend.log(job_id, tail, write)
    if keep_following:
        for news in backend.follow(log.job_id, log.offset):
            write(news.log)
    write(b"")

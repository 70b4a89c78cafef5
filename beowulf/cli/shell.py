"""``beowulf shell``."""

from __future__ import annotations

import click

from beowulf.cli.output import say
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.runner.choice import open_backend


@click.command("shell")
@job_argument(required=False)
@click.option("--rank", type=click.IntRange(min=0), default=0, help="On whose node.")
@cluster_option
def command(job_id: str | None, rank: int, cluster: str | None) -> int:
    """Open a shell where a rank of a running job is, in the job's code. Without ID: the newest."""
    backend = open_backend(cluster)
    place = backend.place(job_id, rank)
    say(f"on {place.host}, in job {place.job_id}; leave with: exit")
    return backend.shell(place)

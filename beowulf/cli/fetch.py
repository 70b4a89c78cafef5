"""``beowulf fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from beowulf.cli.harmless import line
from beowulf.cli.output import json_option, print_json, say
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.runner.choice import open_backend

WITHOUT = ("code", "checkpoints", "heartbeat")


@click.command("fetch")
@job_argument(required=False)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    help="The directory to write to; CLUSTER-job-ID here if left out, job-ID for this computer's.",
)
@click.option("--checkpoints", is_flag=True, help="Bring its checkpoints as well.")
@click.option("--code", is_flag=True, help="Bring the code that it ran as well.")
@cluster_option
@json_option
def command(job_id: str | None, target: Path | None, **flags: Any) -> None:
    """Bring a job's files here: metrics, log, pictures, result. Without ID: the newest job's.

    Only what changed since the last time travels.
    """
    backend = open_backend(flags["cluster"])
    record = backend.record(job_id)
    without = [name for name in WITHOUT if not flags.get(name)]
    where = target or default_target(backend.cluster, record.id)
    arrival = backend.fetch(record.id, where, without)
    if flags["as_json"]:
        print_json(
            fetch={
                "id": record.id,
                "directory": str(where.absolute()),
                "files": sorted([*arrival.brought, *arrival.kept]),
                "brought": sorted(arrival.brought),
                "bytes": arrival.size_bytes,
            }
        )
        return
    for name in sorted(arrival.brought):
        click.echo(line(str(where / name)))
    unchanged = f", {len(arrival.kept)} unchanged" if arrival.kept else ""
    say(f"{len(arrival.brought)} files, {arrival.size_bytes / 1e6:.1f} MB{unchanged}, in {where}")


def default_target(cluster: str | None, job_id: str) -> Path:
    """Return where a job's files go by themselves: each cluster has a job 1 of its own."""
    return Path(f"job-{job_id}" if cluster is None else f"{cluster}-job-{job_id}")

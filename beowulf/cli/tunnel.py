"""``beowulf tunnel``."""

from __future__ import annotations

import click

from beowulf.cli.output import say
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.runner.choice import open_backend
from beowulf.runner.relay import LOOPBACK, listen

PORT = click.IntRange(1, 65_535)


@click.command("tunnel")
@job_argument()
@click.argument("port", type=PORT)
@click.option("--rank", type=click.IntRange(min=0), default=0, help="On whose node.")
@click.option("--local-port", type=PORT, help="The port here; PORT if left out and free.")
@cluster_option
def command(job_id: str, port: int, rank: int, local_port: int | None, cluster: str | None) -> None:
    """Reach PORT of a rank's node from this computer: TensorBoard, a notebook.

    The service may listen on its node's loopback alone. Ctrl-C ends the tunnel, not the job.
    """
    backend = open_backend(cluster)
    place = backend.place(job_id, rank)
    listener = listen(local_port or port)
    here = listener.getsockname()[1]
    click.echo(f"http://{LOOPBACK}:{here}/")
    say(f"carries to port {port} on {place.host}; Ctrl-C ends it, not the job")
    try:
        backend.carry(listener, place, port, say)
    finally:
        listener.close()

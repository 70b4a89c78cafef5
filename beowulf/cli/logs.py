"""``beowulf logs``."""

from __future__ import annotations

import sys

import click

from beowulf.cli.output import json_option, print_json
from beowulf.cli.parameters import job_argument
from beowulf.job.record import read_record
from beowulf.runner.follow import LogReader, follow
from beowulf.runner.local import LocalBackend


@click.command("logs")
@job_argument(required=False)
@click.option("-f", "--follow", "keep_following", is_flag=True, help="Go on until the job ends.")
@click.option("--tail", type=click.IntRange(min=0), help="Only the last so many lines.")
@json_option
def command(job_id: str | None, keep_following: bool, tail: int | None, as_json: bool) -> None:
    """Show what a job prints. Without ID: the newest job."""
    backend = LocalBackend()
    directory = backend.find(job_id) if job_id is not None else backend.newest()
    if as_json and keep_following:
        raise click.UsageError("--json prints one document and cannot follow; leave out -f")
    reader = LogReader(directory.log)
    text = reader.read()
    if tail is not None:
        text = b"".join(text.splitlines(keepends=True)[-tail:] if tail else [])
    if as_json:
        lines = text.decode(errors="replace").splitlines()
        print_json(log={"id": directory.job_id, "offset": reader.offset, "lines": lines})
        return
    _write(text)
    if keep_following:
        follow(reader, _write, lambda: read_record(directory).is_over)


def _write(text: bytes) -> None:
    """Pass the ranks' bytes on as they are."""
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()

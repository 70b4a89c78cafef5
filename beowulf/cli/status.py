"""``beowulf status``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from beowulf.cli.output import (
    NOTHING_TO_RESUME,
    STATE_COLOURS,
    duration,
    json_option,
    print_json,
    progress_words,
    result_lines,
    say,
)
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.runner.choice import open_backend

if TYPE_CHECKING:
    from beowulf.job.record import JobRecord
    from beowulf.runner.backend import Log

LOG_LINES = 15
TAIL_LINES = 200  # of which the launcher's notice may take most
# What Open MPI's launcher says below a rank's own words, which tell more.
LAUNCHER_NOTICE = re.compile(r"^-{60,}\nprterun .*?^-{60,}\n", re.DOTALL | re.MULTILINE)


@click.command("status")
@job_argument(required=False)
@cluster_option
@json_option
def command(job_id: str | None, cluster: str | None, as_json: bool) -> None:
    """Say how a job is, and why. Without ID: the newest job."""
    backend = open_backend(cluster)
    record = backend.record(job_id)
    if as_json:
        print_json(job=record.to_json())
        return
    for label, value in _lines(record):
        click.echo(f"{label:<10} {value}")
    if record.state == "FAILED":
        _print_last_lines(backend.log(record.id, TAIL_LINES))
    for hint in hints(record):
        say(hint)


def _lines(record: JobRecord) -> list[tuple[str, str]]:
    state = click.style(record.state, fg=STATE_COLOURS.get(record.state))
    lines = [("job", f"{record.id}  {record.name}"), ("state", state)]
    if record.reason:
        lines.append(("reason", record.reason))
    if record.exit_code is not None:
        lines.append(("exit code", str(record.exit_code)))
    if record.ranks:
        attempt = f"  (attempt {record.attempt})" if record.attempt > 1 else ""
        lines.append(("ranks", f"{record.ranks}{attempt}"))
    if record.elapsed_s is not None:
        lines.append(("elapsed", duration(record.elapsed_s)))
    if record.progress:
        words = progress_words(vars(record.progress) | _final(record))
        lines.append(("progress", words))
    if record.state == "COMPLETED":
        lines += [("result", f"{name} = {value}") for name, value in result_lines(record)]
    lines += [("picture", picture) for picture in record.pictures]
    lines.append(("directory", record.directory))
    return lines


def _final(record: JobRecord) -> dict[str, None]:
    """No time is left for a job that is over."""
    return {"time_left_s": None} if record.is_over else {}


def _print_last_lines(log: Log) -> None:
    text = log.data.decode(errors="replace")
    lines = LAUNCHER_NOTICE.sub("", text).splitlines()
    if lines:
        say(f"\nlast lines of {log.path}:")
        for line in lines[-LOG_LINES:]:
            click.echo(f"  {line}")


def hints(record: JobRecord) -> list[str]:
    """Return the commands that a person is likely to want next."""
    if record.state == "COMPLETED":
        return []
    if record.is_over and not record.can_resume:
        return [f"\n{NOTHING_TO_RESUME}"]
    if record.is_over:
        return [f"\ngo on from its newest checkpoint: beowulf submit --resume {record.id}"]
    return [f"\nfollow: beowulf logs -f {record.id}    end: beowulf cancel {record.id}"]

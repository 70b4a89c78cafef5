"""Print records for people and for scripts: data on stdout, words on stderr."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from beowulf.cli.harmless import line
from beowulf.job.figures import KEY as FIGURES
from beowulf.job.slurm_nodes import when_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from beowulf.job.record import JobRecord
    from beowulf.job.trust import Trust

PLANNED = ("strategy", "predicted_step_s", "step_s")  # of a result
SCHEMA = 1
NOTHING_TO_RESUME = "there is no checkpoint to go on from: submit it again"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of words."
)


def print_json(**document: Any) -> None:
    """Print one document of the command line's JSON contract.

    A number that JSON does not know (the loss of a training that diverged) is null.
    """
    click.echo(json.dumps(_finite({"schema": SCHEMA, **document}), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    """Tell the person something that is not data."""
    click.echo(text, err=True)


def duration(seconds: float | None) -> str:
    """Return a span of time as a person says it: ``42s``, ``3m 05s``, ``2h 10m``, ``5d 3h``."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def number(value: float | None) -> str:
    """Return a number with as many digits as help."""
    return "-" if value is None else f"{value:.4g}" if abs(value) < 9_999.5 else f"{value:,.0f}"


def progress_words(progress: Mapping[str, Any]) -> str:
    """Return a training's progress in one line: step, loss, speed, time left."""
    step, total = progress["step"], progress["total_steps"]
    words = [f"step {step}/{total}" if total else f"step {step}"]
    if progress["loss"] is not None:
        words.append(f"loss {number(progress['loss'])}")
    if progress["samples_per_s"] is not None:
        words.append(f"{number(progress['samples_per_s'])} samples/s")
    if progress["time_left_s"]:
        words.append(f"{duration(progress['time_left_s'])} left")
    return "  ".join(words)


STATE_COLOURS = {
    "COMPLETED": "green", "FAILED": "red", "TIMEOUT": "red", "CANCELLED": "yellow",
    "UNKNOWN": "magenta", "RUNNING": "cyan", "STARTING": "cyan", "RECOVERING": "cyan",
}  # fmt: skip


def say_what_next(record: JobRecord) -> None:
    """Print the commands with which to come back to a job."""
    say(f"job {record.id} ({line(record.name)}) in {line(record.directory)}")
    for trust in record.left_out:
        say(f"  {left_out_words(trust)}")
    say(f"  follow: beowulf logs -f {record.id}")
    say(f"  look:   beowulf status {record.id}")
    say(f"  end:    beowulf cancel {record.id}")


def left_out_words(trust: Trust, now: datetime | None = None) -> str:
    """Say until when a node is left out, why, and how to have it back."""
    until = when_in_words(str(trust.left_out_until), now)
    return (
        f"{trust.node} is left out until {until}: it was {line(trust.why)}; "
        f"beowulf nodes --trust {trust.node} lifts it"
    )


def result_lines(record: JobRecord) -> list[tuple[str, str]]:
    """Return what the job's script reported, less what it left open."""
    reported = (record.result or {}).items()
    planned = PLANNED if "predicted_step_s" in dict(reported) else ()
    return [
        (name, number(value) if isinstance(value, float) else str(value))
        for name, value in reported
        if value is not None
        and not (name == FIGURES and isinstance(value, dict))  # for predict
        and name not in planned  # the plan says it in words
    ]

"""``beowulf status``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from beowulf.cli.harmless import line
from beowulf.cli.output import (
    NOTHING_TO_RESUME,
    STATE_COLOURS,
    duration,
    json_option,
    number,
    print_json,
    progress_words,
    result_lines,
    say,
)
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.job.directory import JobDirectory
from beowulf.job.slurm_nodes import MONTHS
from beowulf.limits.unplug import unplugging
from beowulf.runner.choice import open_backend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from beowulf.job.record import JobRecord
    from beowulf.job.story import Told
    from beowulf.limits.unplug import Unplugging

LOG_LINES = 15
MOST_TOLD = 10
CERTAIN_STEPS = 16  # with the same shares: fewer prove nothing
# What Open MPI's launcher says below a rank's own words, which tell more.
LAUNCHER_NOTICE = re.compile(r"^-{60,}\nprterun .*?^-{60,}\n", re.DOTALL | re.MULTILINE)


@click.command("status")
@job_argument(required=False)
@cluster_option
@json_option
def command(job_id: str | None, cluster: str | None, as_json: bool) -> None:
    """Say how a job is, why, and what happened to it. Without ID: the newest job."""
    backend = open_backend(cluster)
    if as_json:
        known = backend.record(job_id)
        found = burden(known)
        print_json(job=known.to_json(), burden=vars(found) if found else None)
        return
    record, last_words = backend.examine(job_id)
    colour = STATE_COLOURS.get(record.state)
    for label, value in _lines(record):
        shown = line(value)
        click.echo(f"{label:<10} {click.style(shown, fg=colour) if label == 'state' else shown}")
    if last_words:
        _print_last_lines(JobDirectory(Path(record.directory)).log, last_words)
    for hint in hints(record):
        say(hint)


def _lines(record: JobRecord) -> list[tuple[str, str]]:
    lines = [("job", f"{record.id}  {record.name}"), ("state", record.state)]
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
    lines += [("plan", sentence) for sentence in record.plan]
    lines += _rank_lines(record)
    lines += [("story", told) for told in story_lines(record.story)]
    if record.state == "COMPLETED":
        lines += [("result", f"{name} = {value}") for name, value in result_lines(record)]
    lines += [("picture", picture) for picture in record.pictures]
    lines.append(("directory", record.directory))
    return lines


def story_lines(story: Sequence[Told], now: datetime | None = None) -> list[str]:
    """Tell what happened to a job, in this computer's time, if it is more than happens to all.

    Of a long story, its end and how much was before.
    """
    if all(told.usual for told in story):
        return []
    last = story[-MOST_TOLD:]
    before = len(story) - len(last)
    earlier = [f"{before} before; all of it: beowulf status --json"] if before else []
    today = (now or datetime.now(UTC)).astimezone().date()
    return earlier + [f"{_clock(told.time, today)} {told.said}" for told in last]


def _clock(time: str | None, today: date) -> str:
    """Return a moment to the second, with the day if that is another one."""
    if time is None:
        return "??:??:??"
    moment = datetime.fromisoformat(time).astimezone()
    day = "" if moment.date() == today else f"{MONTHS[moment.month - 1]} {moment.day} "
    return f"{day}{moment:%H:%M:%S}"


def _rank_lines(record: JobRecord) -> list[tuple[str, str]]:
    """Say where each rank is, how fast, and what it gets of each batch, if there are several."""
    if record.paces is None or len(record.paces.ranks) < 2:
        return []
    ranks = record.paces.ranks
    batch = sum(rank.share for rank in ranks)
    host_width = max(len(rank.host or "?") for rank in ranks)
    lines = []
    for rank in ranks:
        host, speed = f"{rank.host or '?':<{host_width}}", f"{number(rank.samples_per_s):>6}"
        part = f"{rank.share} of {batch} samples ({100 * rank.share / batch:.0f} %)"
        lines.append((f"rank {rank.rank}", f"{host}  {speed} samples/s  {part}"))
    found = burden(record)
    if found:
        gain = f"{100 * found.gain:.0f} %"
        lines.append(("advice", f"unplugging {found.host} would make this {gain} faster"))
    return lines


def burden(record: JobRecord) -> Unplugging | None:
    """Return the host without which the job would certainly be faster, if there is one."""
    paces = record.paces
    if paces is None or paces.wire_s is None or paces.steps < CERTAIN_STEPS:
        return None
    ranks = paces.ranks
    if record.plan and not all(rank.share for rank in ranks):
        return None  # the run has chosen its machines itself
    return unplugging(
        hosts=[rank.host for rank in ranks],
        shares=[rank.share for rank in ranks],
        compute_s=[rank.compute_s for rank in ranks],
        step_s=paces.step_s,
        wire_s=paces.wire_s,
    )


def _final(record: JobRecord) -> dict[str, None]:
    """No time is left for a job that is over."""
    return {"time_left_s": None} if record.is_over else {}


def _print_last_lines(path: Path, last_words: bytes) -> None:
    text = last_words.decode(errors="replace")
    lines = LAUNCHER_NOTICE.sub("", text).splitlines()
    if lines:
        say(f"\nlast lines of {line(str(path))}:")
        for one in lines[-LOG_LINES:]:
            click.echo(f"  {line(one)}")


def hints(record: JobRecord) -> list[str]:
    """Return the commands that a person is likely to want next."""
    if record.state == "COMPLETED":
        return []
    if record.is_over and not record.can_resume:
        return [f"\n{NOTHING_TO_RESUME}"]
    if record.is_over:
        return [f"\ngo on from its newest checkpoint: beowulf submit --resume {record.id}"]
    return [f"\nfollow: beowulf logs -f {record.id}    end: beowulf cancel {record.id}"]

"""Stay with a job that was just submitted: its log, a live progress line, its end."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from beowulf.cli.harmless import Harmless, line, log_writer
from beowulf.cli.output import (
    NOTHING_TO_RESUME,
    duration,
    print_json,
    progress_words,
    result_lines,
    say,
    say_what_next,
)
from beowulf.cli.wait import exit_status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.job.record import JobRecord, Progress
    from beowulf.runner.backend import Backend

PLAIN_EVERY_S = 5.0
LIVE_EVERY_S = 0.25
INTERRUPTED = 130
MOST_BAR_COLUMNS = 30
LONGEST_LINE_BYTES = 65_536


def attend(backend: Backend, record: JobRecord, log_start: int, *, as_json: bool) -> int:
    """Follow a job to its end, print how it ended, and return its own exit status.

    ``record`` is how it was when it was accepted: its ID is told before anything is asked.

    The log is shown from byte ``log_start``: a resumed job's from where it had ended.

    With ``as_json``, standard output gets the one document and the log goes to
    standard error. Ctrl-C leaves the job running.
    """
    say_what_next(record)
    try:
        record = _follow(backend, record, log_start, to_stderr=as_json)
    except KeyboardInterrupt:
        say(f"\njob {record.id} goes on without you; to return: beowulf logs -f {record.id}")
        return INTERRUPTED
    if as_json:
        print_json(job=record.to_json())
    else:
        _say_end(record)
    return exit_status_of(record)


def _follow(backend: Backend, record: JobRecord, log_start: int, *, to_stderr: bool) -> JobRecord:
    """Show a job's log and progress until it is over, and return how it is then."""
    write_plain = log_writer(sys.stderr if to_stderr else sys.stdout)

    def pass_on(
        write: Callable[[bytes], None], show: Callable[[Progress | None], None]
    ) -> JobRecord:
        latest = record
        for news in backend.follow(record.id, log_start):
            latest = news.record
            if news.log:
                write(news.log)
            show(latest.progress)
        write(b"")
        return latest

    console = Console(stderr=True)
    if not console.is_terminal:
        return pass_on(write_plain, plain_progress())
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        harmless = Harmless()

        def write_above(text: bytes) -> None:
            if sys.stdout.isatty() or to_stderr:
                console.out(harmless(text), end="", highlight=False)
            else:
                write_plain(text)

        return pass_on(_whole_lines(write_above), live_progress(live))


def _whole_lines(write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Pass on whole lines only: above a live line there is no room for a part of one.

    What has no end is passed on when nothing more comes, or when it is very long.
    """
    waiting = b""

    def write_lines(text: bytes) -> None:
        nonlocal waiting
        whole, newline, waiting = (waiting + text).rpartition(b"\n")
        if newline:
            write(whole + newline)
        if waiting and (not text or len(waiting) > LONGEST_LINE_BYTES):
            write(waiting + b"\n")
            waiting = b""

    return write_lines


def live_progress(live: Live) -> Callable[[Progress | None], None]:
    """Return a function that redraws the progress line, now and then."""
    shown_at = 0.0
    started = time.monotonic()

    def show(progress: Progress | None) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at < LIVE_EVERY_S:
            return
        shown_at = time.monotonic()
        line = Table.grid(padding=(0, 1))
        if progress is None:
            line.add_row("starting", duration(shown_at - started))
        else:
            words = progress_words(vars(progress))
            width = max(1, min(MOST_BAR_COLUMNS, live.console.width - len(words) - 2))
            bar = ProgressBar(total=progress.total_steps, completed=progress.step, width=width)
            if live.console.no_color:  # a bar is nothing but colour
                line.add_row(words)
            else:
                line.add_row(bar, words)
        live.update(line)

    return show


def plain_progress() -> Callable[[Progress | None], None]:
    """Return a function that prints the progress as a line of its own, now and then."""
    shown_at = time.monotonic()
    shown_step = 0

    def show(progress: Progress | None) -> None:
        nonlocal shown_at, shown_step
        if time.monotonic() - shown_at < PLAIN_EVERY_S:
            return
        shown_at = time.monotonic()
        if progress is not None and progress.step != shown_step:
            shown_step = progress.step
            say(progress_words(vars(progress)))

    return show


def _say_end(record: JobRecord) -> None:
    """Print how a job ended and where everything is."""
    colour = "green" if record.state == "COMPLETED" else "red"
    head = click.style(record.state, fg=colour, bold=True)
    say(f"\n{head} job {record.id} ({line(record.name)}) after {duration(record.elapsed_s)}")
    lines = [("reason", record.reason)] if record.reason else []
    if record.state == "COMPLETED":
        lines += result_lines(record)
    lines += [("picture", picture) for picture in record.pictures]
    lines.append(("directory", record.directory))
    if record.can_resume:
        lines.append(("go on", f"beowulf submit --resume {record.id}"))
    elif record.state != "COMPLETED":
        lines.append(("go on", NOTHING_TO_RESUME))
    width = max(len(label) for label, _ in lines)
    for label, value in lines:
        say(f"  {line(label):<{width}}  {line(value)}")

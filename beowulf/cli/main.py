"""``beowulf``: the verbs, found late so that starting is fast, and errors in one line."""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from beowulf import __version__
from beowulf.errors import BeowulfError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INTERRUPTED = 130
MOST_CHARACTERS = 300

# Each verb lives in beowulf/cli/VERB.py; its line here spares --help from importing them all.
VERBS = {
    "submit": "Start a training job and follow it to its end.",
    "jobs": "List your jobs.",
    "status": "Say how a job is, why, and what happened to it.",
    "logs": "Show what a job prints.",
    "fetch": "Bring a job's files here.",
    "cancel": "End jobs and every process of theirs.",
    "drill": "Pull a plug of a running job on purpose, and measure how it recovers.",
    "shell": "Open a shell where a rank of a job is.",
    "tunnel": "Reach a port of a job's node from this computer.",
    "wait": "Wait for jobs to end and return their exit status.",
    "cluster": "Say which clusters there are, and how to reach them.",
    "nodes": "List the cluster's machines and what runs there.",
    "history": "Say who used how many core-hours.",
    "check": "Say what is wrong with a cluster, and what to do.",
    "bench": "Measure how fast each node computes and what each wire carries.",
    "predict": "Predict a job's steps on other numbers of nodes.",
    "lab": "Run a lab of virtual machines on this computer.",
    "completion": "Print the completion script of a shell.",
}


class Verbs(click.Group):
    """The verbs, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which people need them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"beowulf.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A first job:  beowulf submit train.py     Help on a verb:  beowulf submit --help",
)
@click.version_option(__version__, prog_name="beowulf")
def cli() -> None:
    """Train on every machine you have.

    Splits each batch of a training job over ranks, on this machine or on a cluster,
    and keeps everything about the job in one directory.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status. Errors are one line on stderr."""
    try:
        status = cli.main(
            arguments, prog_name="beowulf", standalone_mode=False, color=colour_wanted(os.environ)
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has left: nobody to tell
        return 1
    except (click.ClickException, BeowulfError, OSError) as error:
        return _complain(*_explanation_of(error))
    return status if isinstance(status, int) else 0


def _complain(message: str, status: int) -> int:
    click.echo(f"beowulf: {one_line(message)}", err=True)
    return status


def _explanation_of(error: click.ClickException | BeowulfError | OSError) -> tuple[str, int]:
    """Return what to say of an error, and the exit status that it gives."""
    if isinstance(error, BeowulfError):
        return str(error), error.exit_status
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}; check its permissions and its owner", 1
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else "beowulf"
    message = _without_guess(error) or error.format_message()
    message = " ".join(message.split()).rstrip(".")
    if len(message) > MOST_CHARACTERS:  # it quotes what was typed, however long that is
        message = f"{message[: MOST_CHARACTERS - 80]}...{message[-80:]}"
    return f"{message}; see: {path} --help", 2


def _without_guess(error: click.ClickException) -> str:
    """Return what to say of an option that there is not, guessing only where it is near."""
    if not isinstance(error, click.NoSuchOption):
        return ""
    near = difflib.get_close_matches(error.option_name, error.possibilities or [], 1, cutoff=0.75)
    if near:
        return f"No such option {error.option_name!r}, did you mean {near[0]!r}?"
    if error.ctx is not None and error.ctx.info_name == "submit":
        return f"No such option {error.option_name!r}; if it is the script's, put it behind --"
    return f"No such option {error.option_name!r}"


def colour_wanted(environ: Mapping[str, str]) -> bool | None:
    """Return False if the person wants no colour (no-color.org), None to let the terminal say."""
    return False if environ.get("NO_COLOR") or environ.get("TERM") == "dumb" else None

"""``beowulf drill``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from beowulf.cli.harmless import line
from beowulf.cli.output import json_option, print_json, say
from beowulf.cli.parameters import cluster_option, job_argument
from beowulf.errors import InvalidInput
from beowulf.runner.choice import open_backend

if TYPE_CHECKING:
    from beowulf.job.drill import Plug
    from beowulf.job.recovery import Recovery
    from beowulf.runner.backend import Backend

DEEDS = {"kill": "kill -9", "freeze": "freeze", "cut": "freeze all that the job has on"}
FROZEN = "what is frozen is ended as soon as the others go on without it, or with the job"


@click.command("drill")
@job_argument(required=False)
@click.option("--rank", type=click.IntRange(min=0), help="Whose plug; the last rank's if left out.")
@click.option("--node", metavar="NAME", help="All the job's ranks on this node.")
@click.option("--kill", "what", flag_value="kill", default=True, help="kill -9 (the default).")
@click.option("--freeze", "what", flag_value="freeze", help="Stop them without ending them.")
@click.option(
    "--cut", "what", flag_value="cut", help="Freeze all that the job has on the node, MPI included."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
@cluster_option
@json_option
def command(job_id: str | None, cluster: str | None, as_json: bool, **flags: Any) -> int:
    """Pull a plug of a running job on purpose, and measure how it recovers.

    Without ID: the newest job. It is meant to survive; if it can't, it is started again from its
    newest checkpoint. Nothing but this job is touched. Drills don't count against a node.
    """
    rank, node, what = flags["rank"], flags["node"], flags["what"]
    if rank is not None and node is not None:
        raise InvalidInput("--node", "is given together with --rank", "leave one of them out")
    backend = open_backend(cluster)
    plug = backend.aim(job_id, what, rank, node)
    if not flags["yes"]:
        _ask(plug, as_json=as_json)
    found = _watch(backend, plug)
    if as_json:
        print_json(drill={**plug.to_json(), "recovery": found.to_json()})
    else:
        for label, value in report(plug, found):
            click.echo(f"{label:<17} {line(value)}")
    if not found.is_back:
        say(f"look at: beowulf status {plug.job_id}")
    return 0 if found.is_back else 1


def _ask(plug: Plug, *, as_json: bool) -> None:
    """Say what will happen, and go on only if a person agrees.

    Raises:
        InvalidInput: There is nobody to ask.
    """
    if as_json or not sys.stdin.isatty():
        raise InvalidInput("--yes", "is missing, and nobody is there to be asked", "add --yes")
    for sentence in warning(plug):
        say(sentence)
    click.confirm("go on?", abort=True, err=True)


def warning(plug: Plug) -> list[str]:
    """Say what a drill does, and what is to be expected of the job."""
    at = f", at step {plug.step}" if plug.step is not None else ""
    ranks = f"rank{'s' * (len(plug.ranks) > 1)} {', '.join(map(str, plug.ranks))}"
    where = line(plug.host)
    target = f"{where} ({ranks})" if plug.what == "cut" else f"{ranks} on {where}"
    sentences = [f"about to {DEEDS[plug.what]} {target}, of job {plug.job_id}{at}"]
    whence = (
        f"from its checkpoint after step {plug.checkpoint_step}"
        if plug.checkpoint_step is not None
        else "from the beginning: it has no checkpoint yet"
    )
    if plug.left:
        who = "the other rank" if plug.left == 1 else f"the other {plug.left} ranks"
        sentences.append(f"{who} should carry on; if not, it is started again {whence}")
    else:
        sentences.append(f"no rank is left then, so it is started again {whence}")
    return sentences if plug.what == "kill" else [*sentences, FROZEN]


def _watch(backend: Backend, plug: Plug) -> Recovery:
    """Pull the plug and show how the job recovers: a line that changes, or lines in a file."""
    is_live = sys.stderr.isatty()
    begun = time.monotonic()
    shown = ""
    for found in backend.drill(plug):
        words = progress(found)
        if is_live:
            waited = f"{time.monotonic() - begun:4.0f} s  {words}"
            click.echo(f"\r\x1b[K{waited}", nl=False, err=True)
        elif words != shown:
            say(words)
        shown = words
    if is_live:
        click.echo("\r\x1b[K", nl=False, err=True)
    return found


def progress(found: Recovery) -> str:
    """Say in a few words how far a recovery has come."""
    if found.state is not None:
        return f"the job is {found.state}"
    if found.is_back:
        return "it trains again; measuring how fast"
    if found.restarting_s is not None:
        return "it is being started again"
    if found.noticed_s is not None:
        return "the loss was noticed"
    return "pulled; nobody has noticed yet"


def report(plug: Plug, found: Recovery) -> list[tuple[str, str]]:
    """Return what was measured, a line each."""
    lines = []
    if found.noticed_s is not None:
        lines.append(("noticed after", _seconds(found.noticed_s)))
    if found.carried_on_s is not None:
        ranks = f", with {found.ranks} rank{'s' * (found.ranks != 1)}" if found.ranks else ""
        lines.append(("carried on after", f"{_seconds(found.carried_on_s)}{ranks}"))
        lost = f", lost {_seconds(found.lost_s)}" if found.lost_s is not None else ""
        lines.append(("step redone", f"{found.step}{lost}"))
    elif found.restarted_s is not None:
        step = found.from_step
        whence = f"the checkpoint after step {step}" if step is not None else "the beginning"
        again = f"{_seconds(found.restarted_s)}, from {whence} (attempt {found.attempt})"
        lines.append(("started again", f"after {again}"))
    else:
        how = f"the job is {found.state}" if found.state else "nothing was seen of it in time"
        lines.append(("no recovery", f"{how}{f': {found.reason}' if found.reason else ''}"))
    before, after = plug.steps_per_s, found.steps_per_s
    if before is not None and after is not None:
        lines.append(("steps per second", f"{before:.4g} before, {after:.4g} after"))
    return lines


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"

"""Show what a job would run, and why: ``beowulf submit --explain``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from beowulf.cli.output import print_json, say
from beowulf.runner.fields import cut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from beowulf.runner.backend import Backend
    from beowulf.runner.explanation import Explanation
    from beowulf.runner.spec import JobSpec

CORES_SHARED = "this rank's part of the cores that the job has on its node"


def explain(backend: Backend, spec: JobSpec, work_directory: Path, *, as_json: bool) -> int:
    """Print what submitting the job would run, in words or as one document."""
    explanation = backend.explain(spec, work_directory)
    if as_json:
        print_json(explanation=explanation.to_json())
        return 0
    for label, value in lines_of(explanation):
        click.echo(f"{label:<10} {value}")
    click.echo()
    for line in settings_of(explanation):
        click.echo(line)
    click.echo(f"\n{explanation.script.rstrip()}")
    say("\nnothing was submitted; to do so, leave --explain out")
    return 0


def lines_of(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """Yield what would be started, where, and how it would average."""
    yield "job", explanation.name
    yield "command", cut(shlex.join(explanation.command))
    place = explanation.cluster
    yield "place", "this computer" if place is None else f"cluster {place}, by Slurm"
    ranks = explanation.ranks
    yield "ranks", "as many as Slurm gives nodes for" if ranks is None else str(ranks)
    if explanation.nodes is None:
        yield "nodes", "wherever Slurm has cores"
    else:
        each = explanation.ranks_per_node or 1
        yield "nodes", f"{explanation.nodes}, with {each} rank{'s' if each > 1 else ''} on each"
    threads = explanation.threads_per_rank
    yield "threads", CORES_SHARED if threads is None else f"{threads} in each rank"
    yield "averaging", explanation.averaging


def settings_of(explanation: Explanation) -> Iterator[str]:
    """Yield Open MPI's settings, a line each, with the reasons beside them."""
    yield "Open MPI is told:"
    texts = [f"{setting.name} = {setting.value}" for setting in explanation.settings]
    width = max(map(len, texts))
    for text, setting in zip(texts, explanation.settings, strict=True):
        yield f"  {text:{width}}  {setting.reason}"

"""``beowulf nodes``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beowulf.cli.chosen_cluster import chosen_cluster
from beowulf.cli.output import json_option, left_out_words, print_json, say
from beowulf.cli.parameters import cluster_option
from beowulf.cli.table import Table
from beowulf.errors import BeowulfError, InvalidInput
from beowulf.hardware.nodes import NodeReport, ask_nodes, with_trust
from beowulf.job.slurm_nodes import trouble_in_words, when_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.job.trust import Trust
    from beowulf.transport.connection import Connection

MOST_SENTENCES = 5
MOST_NAMED = 8
COLOURS = {"free": "green", "partly busy": "cyan", "busy": "cyan", "finishing": "cyan",
           "draining": "yellow", "drained": "yellow", "rebooting": "yellow"}  # fmt: skip
TABLE = Table(
    words=frozenset({"NODE", "STATE", "TRUST", "RUNS", "SINCE", "REASON"}),
    cut_first="REASON",
    first_to_go=("LOAD", "MEMORY", "SINCE", "TRUST"),
    coloured="STATE",
)


@click.command("nodes")
@click.option("--trust", "forgiven", metavar="NODE", help="Use a node again that lost jobs lately.")
@cluster_option
@json_option
def command(forgiven: str | None, cluster: str | None, as_json: bool) -> None:
    """List the cluster's machines: what state they are in, what runs there, and why not.

    TRUST is the chance that a machine lasts a day's work, by how often it was lost in the last
    weeks and how long it has served. One that was lost three times in a day is left out of new
    jobs for a while.
    """
    with chosen_cluster(cluster) as (name, connection):
        reports = ask_nodes(connection)
        if forgiven is not None:
            _refuse_unknown(forgiven, reports)
        reports = _trusted(connection, reports, forgiven)
    if as_json:
        print_json(cluster=name, nodes=[report.to_json() for report in reports])
        return
    colours = [COLOURS.get(report.node.state, "red") for report in reports]
    TABLE.show([cells(report) for report in reports], colours)
    if forgiven is not None:
        say(f"{forgiven} is trusted again: what was before counts no more for your jobs")
    for sentence in sentences(reports):
        say(sentence)


def _refuse_unknown(name: str, reports: Sequence[NodeReport]) -> None:
    known = [report.node.name for report in reports]
    if name not in known:
        shown = ", ".join(known[:MOST_NAMED])
        raise InvalidInput("--trust", f"there is no node {name[:60]!r}", f"there are: {shown}")


def _trusted(
    connection: Connection, reports: list[NodeReport], forgiven: str | None
) -> list[NodeReport]:
    """Return the nodes with the trust in them; without it where only that cannot be had."""
    from beowulf.runner.trusting import ask_trust  # noqa: PLC0415 - as late as may be

    try:
        return with_trust(reports, ask_trust(connection, forgiven))
    except BeowulfError as error:
        if forgiven is not None:
            raise
        say(f"how far they can be trusted is not known: {error}")
        return reports


def cells(report: NodeReport) -> dict[str, str]:
    """Return a node's line of the table."""
    node = report.node
    return {
        "NODE": node.name,
        "STATE": node.state,
        "CORES": f"{node.cores_used}/{node.cores}",
        "MEMORY": f"{node.memory_used_mb / 1024:.1f}/{node.memory_mb / 1024:.1f} GB",
        "LOAD": "-" if node.load is None else f"{node.load:.2f}",
        "TRUST": trust_words(report.trust),
        "SINCE": when_in_words(report.since) if report.since else "-",
        "RUNS": ", ".join(f"{job.name} ({job.user})" for job in report.jobs) or "-",
        "REASON": f"{node.reason} ({node.reason_by})" if node.reason_by else node.reason,
    }


def trust_words(trust: Trust | None) -> str:
    """Return how far a node can be trusted, and why not further."""
    if trust is None:
        return "-"
    return f"{trust.per_cent} %{f', {trust.why}' if trust.why else ''}"


def sentences(reports: Sequence[NodeReport]) -> list[str]:
    """Say what is wrong, and what to type."""
    kept_out = [report.trust for report in reports if report.trust and report.trust.left_out_until]
    return [*map(left_out_words, kept_out[:MOST_SENTENCES]), *_away(reports)]


def _away(reports: Sequence[NodeReport]) -> list[str]:
    away = [report.node for report in reports if not report.node.is_up]
    if not away:
        return []
    said = [trouble_in_words(node) for node in away[:MOST_SENTENCES]]
    if len(away) > MOST_SENTENCES:
        said.append(f"and {len(away) - MOST_SENTENCES} more")
    return [*said, "what to do about it: beowulf check"]

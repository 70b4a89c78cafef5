"""``beowulf nodes``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beowulf.cli.chosen_cluster import chosen_cluster
from beowulf.cli.output import json_option, print_json, say
from beowulf.cli.parameters import cluster_option
from beowulf.cli.table import Table
from beowulf.hardware.nodes import NodeReport, ask_nodes
from beowulf.job.slurm_nodes import trouble_in_words, when_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_SENTENCES = 5
COLOURS = {"free": "green", "partly busy": "cyan", "busy": "cyan", "finishing": "cyan",
           "draining": "yellow", "drained": "yellow", "rebooting": "yellow"}  # fmt: skip
TABLE = Table(
    words=frozenset({"NODE", "STATE", "RUNS", "SINCE", "REASON"}),
    cut_first="REASON",
    first_to_go=("LOAD", "MEMORY", "SINCE"),
    coloured="STATE",
)


@click.command("nodes")
@cluster_option
@json_option
def command(cluster: str | None, as_json: bool) -> None:
    """List the cluster's machines: what state they are in, what runs there, and why not."""
    with chosen_cluster(cluster) as (name, connection):
        reports = ask_nodes(connection)
    if as_json:
        print_json(cluster=name, nodes=[report.to_json() for report in reports])
        return
    colours = [COLOURS.get(report.node.state, "red") for report in reports]
    TABLE.show([cells(report) for report in reports], colours)
    for sentence in sentences(reports):
        say(sentence)


def cells(report: NodeReport) -> dict[str, str]:
    """Return a node's line of the table."""
    node = report.node
    return {
        "NODE": node.name,
        "STATE": node.state,
        "CORES": f"{node.cores_used}/{node.cores}",
        "MEMORY": f"{node.memory_used_mb / 1024:.1f}/{node.memory_mb / 1024:.1f} GB",
        "LOAD": "-" if node.load is None else f"{node.load:.2f}",
        "SINCE": when_in_words(report.since) if report.since else "-",
        "RUNS": ", ".join(f"{job.name} ({job.user})" for job in report.jobs) or "-",
        "REASON": f"{node.reason} ({node.reason_by})" if node.reason_by else node.reason,
    }


def sentences(reports: Sequence[NodeReport]) -> list[str]:
    """Say what is wrong, and what to type."""
    away = [report.node for report in reports if not report.node.is_up]
    if not away:
        return []
    said = [trouble_in_words(node) for node in away[:MOST_SENTENCES]]
    if len(away) > MOST_SENTENCES:
        said.append(f"and {len(away) - MOST_SENTENCES} more")
    return [*said, "what to do about it: beowulf check"]

"""``beowulf bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beowulf.cli.chosen_cluster import chosen_cluster
from beowulf.cli.heat_map import heat_map
from beowulf.cli.measured import last_measured
from beowulf.cli.output import duration, json_option, print_json, say
from beowulf.cli.parameters import cluster_option
from beowulf.cli.table import Table
from beowulf.errors import CommandFailed
from beowulf.hardware.pictures import HOW_TO_DRAW, can_draw, draw_measured
from beowulf.hardware.speeds import judge_speeds, mbit, node_wires, ring_limit_s
from beowulf.runner.choice import open_backend
from beowulf.runner.measuring import kept_at, measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from beowulf.hardware.findings import Finding
    from beowulf.hardware.nodes import NodeReport
    from beowulf.job.follow import News
    from beowulf.job.measured import AllreduceTime, Measured

BAR_WIDTH = 12
LONG_BYTES = 100_000  # of a smaller sum, rounds take the time and not the wires' rate
NODES = Table(
    words=frozenset({"NODE", "SPEED"}), cut_first="NODE", first_to_go=("LATENCY", "BOTH", "SPEED")
)
SUMS = Table(words=frozenset(), cut_first="SUM OF")
EXPLAINED = (
    "OUT, IN and BOTH (each way, at once) are Mbit/s of each node's wire at its best; "
    "SPEED and GFLOP/S are of a float32 matrix product"
)


@click.command("bench")
@click.option("--last", is_flag=True, help="Show what was measured last, and measure nothing.")
@cluster_option
@json_option
def command(last: bool, cluster: str | None, as_json: bool) -> None:
    """Measure how fast each node computes and what each wire carries, and say what is wrong.

    A job on every free node, for a minute or two: a float32 matrix product, a copy in
    memory, each pair's wire in both directions and in both at once, the sum over all nodes.
    Nodes that are off or busy are left out and named. What it finds is kept, here and on
    the cluster; beowulf predict goes by it. On this computer alone there are no wires.
    """
    backend = open_backend(cluster)
    job_id: str | None = None
    left_out: list[NodeReport] = []
    if last:
        found = last_measured(backend.cluster)
        say(f"measured {duration(found.age_s())} ago")
    else:
        free, left_out = _free_and_not(cluster) if backend.cluster else (1, [])
        found, record = measure(backend, free, _teller())
        job_id = record.id
    findings = judge_speeds(found)
    picture = _draw(found, kept_at(backend.cluster).with_suffix(".png"))
    if as_json:
        print_json(
            cluster=backend.cluster,
            job=job_id,
            measured={**found.to_json(), "age_s": found.age_s()},
            findings=[finding.to_json() for finding in findings],
            left_out=[{"name": node.node.name, "state": node.node.state} for node in left_out],
            picture=str(picture) if picture else None,
        )
        return
    _show(found, findings)
    for report in left_out:
        say(f"{report.node.name} is {report.node.state}: it was not measured")
    say(f"picture: {picture}" if picture else HOW_TO_DRAW)


def _free_and_not(cluster: str | None) -> tuple[int, list[NodeReport]]:
    """Return how many nodes are free, and which are not.

    Raises:
        CommandFailed: None is.
    """
    from beowulf.hardware.nodes import ask_nodes  # noqa: PLC0415 - a cluster's alone

    with chosen_cluster(cluster) as (name, connection):
        reports = ask_nodes(connection)
    left_out = [report for report in reports if report.node.state != "free"]
    if len(left_out) == len(reports):
        raise CommandFailed(
            f"{name}: no node is free, and one that works would measure wrong; see: beowulf nodes"
        )
    return len(reports) - len(left_out), left_out


def _teller() -> Callable[[News], None]:
    """Return a function that says what the job says, and why it waits if it does."""
    said = ""

    def tell(news: News) -> None:
        nonlocal said
        if news.log:
            click.echo(news.log, nl=False, err=True)
        waits = news.record.state == "QUEUED" and news.record.reason
        if waits and waits != said:
            said = waits
            say(f"it waits: {waits}")

    return tell


def _draw(found: Measured, path: Path) -> Path | None:
    if not can_draw():
        return None
    draw_measured(found, path)
    return path


def _show(found: Measured, findings: list[Finding]) -> None:
    NODES.show(node_rows(found))
    if found.wires:
        click.echo()
        for line in heat_map([node.name for node in found.nodes], found.wires):
            click.echo(line)
    if found.allreduce:
        click.echo()
        SUMS.show([sum_row(found, each) for each in found.allreduce])
    click.echo()
    for finding in findings:
        mark = click.style("✓", fg="green") if finding.is_good else click.style("✗", fg="red")
        click.echo(f"{mark} {finding.words}{f'; {finding.remedy}' if finding.remedy else ''}")
    say(EXPLAINED if found.wires else EXPLAINED.partition("; ")[2])


def node_rows(found: Measured) -> list[dict[str, str]]:
    """Return the table's lines: one per node, with a bar of its speed."""
    most = max(node.flops for node in found.nodes)
    wires = node_wires(found)
    rows = []
    for node in found.nodes:
        row = {
            "NODE": node.name,
            "CORES": str(node.cores),
            "GFLOP/S": f"{node.flops / 1e9:.3g}",
            "SPEED": "█" * max(1, round(BAR_WIDTH * node.flops / most)),
            "MEMORY GB/S": f"{node.memory_bytes_per_s / 1e9:.3g}",
        }
        if wires:
            wire = wires[node.name]
            row |= {
                "OUT": mbit(wire.sends),
                "IN": mbit(wire.receives),
                "BOTH": mbit(wire.both),
                "LATENCY": f"{wire.latency_s * 1e3:.2g} ms",
            }
        rows.append(row)
    return rows


def sum_row(found: Measured, each: AllreduceTime) -> dict[str, str]:
    """Return a line of the table of sums: its size, its time, and what the wires would allow."""
    limit_s = ring_limit_s(found, each.size_bytes) if each.size_bytes >= LONG_BYTES else None
    is_large = each.size_bytes >= 1 << 20
    return {
        "SUM OF": f"{each.size_bytes >> 20} MiB" if is_large else f"{each.size_bytes >> 10} KiB",
        "TAKES": f"{each.seconds * 1e3:.3g} ms",
        "OF THE LIMIT": f"{100 * limit_s / each.seconds:.0f} %" if limit_s else "-",
    }

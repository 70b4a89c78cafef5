"""``beowulf check``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from beowulf.cli.chosen_cluster import chosen_cluster
from beowulf.cli.output import json_option, print_json, say
from beowulf.cli.parameters import cluster_option
from beowulf.errors import AccessDenied, BeowulfError, Unreachable
from beowulf.hardware.checks import ask_facts, free_nodes, judge
from beowulf.hardware.findings import Finding, good, wrong
from beowulf.hardware.trial import try_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beowulf.transport.connection import Connection

MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "yellow")}


@click.command("check")
@click.option("--deep", is_flag=True, help="Also run a job of a second on every free node.")
@cluster_option
@json_option
def command(deep: bool, cluster: str | None, as_json: bool) -> int:
    """Say what is wrong with a cluster, from this computer to each node, and what to do.

    Ends with 0 if nothing is, with 1 if anything is; with 3 or 5 if there is no way to the
    head. With --deep, every free node also says whether it sees your files, has the same
    MPI and libraries as the others, and the right time.
    """
    findings: list[Finding] = []
    status = 0
    with chosen_cluster(cluster) as (name, connection):
        try:
            for finding in look(connection, deep=deep):
                findings.append(finding)
                if not as_json:
                    _show(finding)
        except BeowulfError as error:
            status = error.exit_status if isinstance(error, Unreachable | AccessDenied) else 1
            findings.append(wrong("way", str(error), ""))
            if not as_json:
                _show(findings[-1])
    faults = sum(finding.is_good is False for finding in findings)
    if as_json:
        print_json(cluster=name, ok=not faults, findings=[each.to_json() for each in findings])
    else:
        say(_sum_up(faults, deep=deep))
    return status or int(bool(faults))


def look(connection: Connection, *, deep: bool) -> Iterator[Finding]:
    """Yield what is found, from near to far.

    Raises:
        Unreachable, AccessDenied: There is no way to the head.
        CommandFailed: The head does not answer as it should.
    """
    begun = time.monotonic()
    connection.run(("true",))
    yield good("login", f"{connection.name} lets you in ({time.monotonic() - begun:.1f} s)")
    facts = ask_facts(connection)
    yield from judge(facts)
    if deep and facts.nodes:
        yield from try_nodes(connection, free_nodes(facts.nodes))


def _show(finding: Finding) -> None:
    mark, colour = MARKS[finding.is_good]
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    click.echo(f"{click.style(mark, fg=colour)} {finding.words}{remedy}")


def _sum_up(faults: int, *, deep: bool) -> str:
    if faults:
        return f"{faults} thing{'s' * (faults != 1)} to mend"
    return "all is well" if deep else "all is well; to try every node with a job: --deep"

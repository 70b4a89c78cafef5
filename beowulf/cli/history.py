"""``beowulf history``."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from beowulf.cli.chosen_cluster import chosen_cluster
from beowulf.cli.output import json_option, print_json, say
from beowulf.cli.parameters import cluster_option
from beowulf.cli.table import Table
from beowulf.hardware.accounting import ask_history, parse_span

if TYPE_CHECKING:
    from beowulf.hardware.accounting import Usage

WIDEST_BAR = 40
BAR = "SHARE"
TABLE = Table(frozenset({"USER", BAR}), cut_first="USER", first_to_go=(BAR, "RUNNING"))
OTHERS = (
    "only your own jobs: what others used is kept from ordinary users; "
    "who looks after the cluster sees all"
)


@click.command("history")
@click.option("--since", default="7d", metavar="SPAN", show_default=True,
              help="How far back: 12h, 7d, 4w.")  # fmt: skip
@cluster_option
@json_option
def command(since: str, cluster: str | None, as_json: bool) -> None:
    """Say who used how many core-hours, and how many jobs failed."""
    span = parse_span(since)
    with chosen_cluster(cluster) as (name, connection):
        history = ask_history(connection, span)
    if as_json:
        print_json(
            cluster=name,
            since=history.since,
            of_everybody=history.of_everybody,
            users=[use.to_json() for use in history.users],
        )
        return
    if history.users:
        width = _room_for_bars(history.users) if sys.stdout.isatty() else 0
        most = max(use.core_hours for use in history.users)
        TABLE.show([cells(use, most, width) for use in history.users])
    else:
        say(f"no jobs in the last {since}")
    if not history.of_everybody:
        say(OTHERS)


def _room_for_bars(users: tuple[Usage, ...]) -> int:
    others = max(4, *(len(use.user) for use in users)) + 40
    return max(0, min(WIDEST_BAR, shutil.get_terminal_size().columns - others))


def cells(use: Usage, most: float, bar_width: int) -> dict[str, str]:
    """Return a user's line of the table, with a bar if it has a width."""
    line = {
        "USER": use.user,
        "CORE-HOURS": f"{use.core_hours:,.2f}",
        "JOBS": str(use.jobs),
        "FAILED": str(use.failures),
        "RUNNING": str(use.running),
    }
    if bar_width:
        line[BAR] = "█" * round(bar_width * use.core_hours / most) if most else ""
    return line

"""The measurements that a verb goes by: those kept here, or else those kept on the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.cli.chosen_cluster import chosen_cluster
from beowulf.errors import CommandFailed
from beowulf.hardware.measurements import ask_measured
from beowulf.runner.measuring import read_kept, write_kept

if TYPE_CHECKING:
    from beowulf.job.measured import Measured


def last_measured(cluster: str | None) -> Measured:
    """Return what was measured last of a cluster, or of this computer if it is None.

    Raises:
        CommandFailed: Nothing was.
        Unreachable, AccessDenied: Nothing is kept here, and there is no way to the head.
    """
    found = read_kept(cluster)
    if found is None and cluster is not None:
        with chosen_cluster(cluster) as (_, connection):
            found = ask_measured(connection)
        if found is not None:
            write_kept(cluster, found)
    if found is None:
        what = f"the cluster {cluster}" if cluster else "this computer"
        where = f"--cluster {cluster or 'local'}"
        raise CommandFailed(f"{what} was not measured yet; run: beowulf bench {where}")
    return found

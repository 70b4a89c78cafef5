"""Where a supervisor runs its job's ranks: on this computer, or on what Slurm gave."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import LaunchError
from beowulf.runner.allocation import Allocation, endpoints_of, hosts_of, read_allocation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from beowulf.job.directory import JobDirectory
    from beowulf.runner.spec import JobSpec

SLURM_VARIABLE = "SLURM_JOB_ID"
LOCAL_LOOK_S = 0.05
# On a cluster each look asks the head's disk. Logs are to be seen within a second.
CLUSTER_LOOK_S = 0.5


@dataclass(frozen=True)
class Site:
    """The ranks' place.

    ``endpoints`` has one ``host:port`` per rank for frameworks, ``look_s`` is how often the
    job directory is looked at, ``ends_at`` when Slurm would end the job, in seconds since 1970.
    """

    ranks: int
    endpoints: tuple[str, ...]
    look_s: float = LOCAL_LOOK_S
    hosts: tuple[str, ...] = ()
    slurm_job_id: int | None = None
    ends_at: float = float("inf")
    ranks_per_host: tuple[int, ...] = ()
    is_whole: bool = True
    """Whether these are all the hosts that Slurm gave."""

    @property
    def on_cluster(self) -> bool:
        """Say whether Slurm started this, and the job directory is on NFS."""
        return self.slurm_job_id is not None

    @property
    def story(self) -> dict[str, object]:
        """What the event ``started`` tells of it."""
        if not self.on_cluster:
            return {"ranks": self.ranks}
        return {
            "ranks": self.ranks, "hosts": list(self.hosts), "slurm_job_id": self.slurm_job_id,
        }  # fmt: skip


def this_computer(spec: JobSpec) -> Site:
    """Return this computer, with a free loopback port for each rank."""
    ranks = spec.resources.ranks or 1
    return Site(ranks, tuple(f"127.0.0.1:{port}" for port in free_ports(ranks)))


def given_by_slurm(environ: Mapping[str, str]) -> Site:
    """Return what Slurm gave the job whose batch script this is.

    Raises:
        LaunchError: Slurm's variables or commands cannot be understood.
    """
    allocation = read_allocation(environ, hosts_of(environ.get("SLURM_JOB_NODELIST", "")))
    return _on_cluster(allocation)


def _on_cluster(allocation: Allocation, *, is_whole: bool = True) -> Site:
    return Site(
        ranks=allocation.ranks,
        endpoints=endpoints_of(allocation),
        look_s=CLUSTER_LOOK_S,
        hosts=allocation.hosts,
        slurm_job_id=allocation.slurm_job_id,
        ends_at=allocation.ends_at,
        ranks_per_host=allocation.ranks_per_host,
        is_whole=is_whole,
    )


def anew(site: Site, spec: JobSpec, left_out: Collection[str]) -> Site:
    """Return the place for another attempt: the same computer, or the same hosts but ``left_out``.

    Raises:
        LaunchError: No host is left.
    """
    if site.slurm_job_id is None:
        return this_computer(spec)
    kept = [
        (host, ranks)
        for host, ranks in zip(site.hosts, site.ranks_per_host, strict=True)
        if host not in left_out
    ]
    if not kept:
        raise LaunchError("no host of this job is left")
    hosts, ranks_per_host = zip(*kept, strict=True)
    allocation = Allocation(site.slurm_job_id, hosts, ranks_per_host, site.ends_at)
    return _on_cluster(allocation, is_whole=site.is_whole and len(kept) == len(site.hosts))


def launcher_environment(
    outer: Mapping[str, str], spec: JobSpec, directory: JobDirectory, attempt: int, site: Site
) -> dict[str, str]:
    """Return the environment of the batch script: the submitter's and the job's own."""
    own = {
        "BEOWULF_JOB_DIR": str(directory.path),
        "BEOWULF_ATTEMPT": str(attempt),
        "BEOWULF_RANKS": str(site.ranks),
        "BEOWULF_ENDPOINTS": ",".join(site.endpoints),
    }
    if not site.is_whole:  # the launcher would start ranks on all that Slurm gave
        own["BEOWULF_HOSTFILE"] = str(directory.hostfile)
    if os.geteuid() == 0:  # Open MPI refuses root; allowed for this child alone
        own["OMPI_ALLOW_RUN_AS_ROOT"] = own["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return {**outer, **spec.environment, **own}


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on now, for frameworks that need one per rank."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

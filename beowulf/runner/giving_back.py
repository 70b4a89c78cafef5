"""Give hosts back to Slurm on which a job has lost its ranks, while it goes on without them.

Slurm ends all of a step's processes, on the other hosts too, when a host registers that was off and
knows nothing of the step any more. What is not the job's can't end it. A host that only thaws is
told by Slurm then to end what it still runs of the job. Likewise Open MPI's launcher ends all once
a lost host refuses an old connection; so it gets to hear nothing more from there.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from beowulf.errors import LaunchError
from beowulf.job.wall import deafen
from beowulf.runner.allocation import hosts_given, keep_hosts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from beowulf.job.heartbeat import Heartbeat
    from beowulf.runner.reachable import HostProbe
    from beowulf.runner.site import Site

AGAIN_S = 10.0  # until Slurm is asked once more, if it did not answer


class GivingBack:
    """Hosts that are not needed any more. One that serves is kept: only its ranks were lost.

    ``launcher`` is the process that started the ranks, None as long as it is not known.
    """

    def __init__(self, site: Site, probe: HostProbe | None) -> None:
        self._site = site
        self.launcher: int | None = None
        self._probe = probe
        self._gone: set[str] = set()
        self._silent: set[str] = set()
        self._next_try = 0.0

    def look(self, now: float, beats: Sequence[Heartbeat], without: Collection[int]) -> None:
        """Give back the hosts that are out of service and have no ranks but those ``without``."""
        self._deafen()
        slurm_job_id, probe = self._site.slurm_job_id, self._probe
        if not without or slurm_job_id is None or probe is None or now < self._next_try:
            return
        needed = {beat.host for beat in beats if beat.rank not in without}
        needed.add(self._site.hosts[0])  # where this runs
        lost = {beat.host for beat in beats if beat.rank in without} - needed - self._gone
        lost &= set(probe.out_of_service())
        if not lost:
            return
        self._next_try = now + AGAIN_S
        self._silent |= lost
        self._deafen()
        with contextlib.suppress(LaunchError):
            given = hosts_given(slurm_job_id)
            kept = [host for host in given if host not in lost]
            if kept != given:  # Slurm may have given them up itself
                keep_hosts(slurm_job_id, kept)
            self._gone |= lost
            self._next_try = 0.0

    def _deafen(self) -> None:
        if self.launcher is not None and self._silent:
            deafen(self.launcher, self._silent)

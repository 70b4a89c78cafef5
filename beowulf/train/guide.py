"""Who trains, with which shares, and how: what changes in the course of a run.

All ranks train, or some do while the others rest. The first of those that train leads: it
writes the files and speaks.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from beowulf.train.auto import Automatic
from beowulf.train.balance import Balancer
from beowulf.train.planner import Planned, Planner
from beowulf.train.rest import wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI

    from beowulf.train.averaging import Averaging
    from beowulf.train.plan import Plan
    from beowulf.train.planner import Told
    from beowulf.train.rest import News


class Guide:
    """One rank's knowledge of who trains how. All that train know the same.

    Args:
        comm: All ranks of the run.
        averaging: How gradients are averaged.
        weights: Each rank's weight in a batch, to begin with.
        is_balanced: Whether these follow measured speeds.

    Attributes:
        weights: Each rank's weight in the next batch.
        group: The ranks that train.
        lead: The first of them, by its rank among all.
        is_resting: Whether this rank is not among them.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        averaging: Averaging,
        weights: tuple[float, ...],
        *,
        is_balanced: bool,
    ) -> None:
        self.weights = weights
        self._comm = comm
        self._automatic = averaging if isinstance(averaging, Automatic) else None
        self._is_balanced = is_balanced and comm.size > 1
        self._batch = 0
        self._balancer: Balancer | None = None
        self._planner: Planner | None = None
        self._everybody = tuple(range(comm.size))
        self._meet()

    def _meet(self) -> None:
        self.group: MPI.Intracomm = self._comm
        self.lead = 0
        self.is_resting = False
        self._ranks = self._everybody

    @property
    def somebody_rests(self) -> bool:
        """Say whether there is a rank that does not train."""
        return self._ranks != self._everybody

    def begin(self, batch: int, may_rest: Callable[[], bool]) -> None:
        """Begin a loop with so many samples per step. Collective over all ranks.

        ``may_rest`` says whether this rank's script lets ranks be left out.
        """
        self._batch = batch
        self._balance_anew()
        if self._automatic is not None and self._comm.size > 1:
            hosts = self._comm.allgather(platform.node())
            self._planner = Planner(self._automatic, batch, hosts, may_rest)

    def _balance_anew(self) -> None:
        if self._is_balanced:  # a run that goes on finds out anew: it takes but a few steps
            self._balancer = Balancer(self._comm.size, self._batch)
            self.weights = self._balancer.weights

    def learn(
        self,
        shares: tuple[int, ...],
        compute_s: tuple[float, ...],
        step_s: float,
        wire_s: float | None,
    ) -> Told | None:
        """Let shares follow what a step has shown; return another plan, if there is one.

        Collective over the ranks that train, at steps that all of them know.
        """
        balancer = self._balancer
        if balancer is not None:
            balancer.observe(shares, compute_s)
            self.weights = balancer.weights
        if self._planner is None or sum(shares) != self._batch:
            return None
        has_changed = balancer is not None and balancer.has_changed
        self._planner.see(shares, compute_s, step_s, wire_s, has_changed=has_changed)
        return self._planner.next_plan(balancer, self.lead)

    def follow(self, plan: Plan) -> bool:
        """Train as a plan says, if those who train now can do so by themselves.

        Returns False if others must be called back first. Collective over all who train.
        """
        if self._automatic is None:
            return True
        if plan.ranks == self._ranks:
            self._automatic.use(plan)
            return True
        if self.somebody_rests:
            return False
        self._automatic.follow(plan)
        self.group, self.lead, self._ranks = self._automatic.group, plan.ranks[0], plan.ranks
        self.is_resting = self._comm.rank not in plan.ranks
        if self._balancer is not None:
            self._balancer.rest(set(self._everybody).difference(plan.ranks))
            self.weights = self._balancer.weights
        return True

    def wake(self, news: News) -> None:
        """Send the news to all who rest, from the leading rank."""
        if self._comm.rank == self.lead:
            wake(self._comm, [r for r in self._everybody if r not in self._ranks], news)

    def come_together(self, planned: Planned | None) -> None:
        """Have all ranks train again, and find out anew how. Each rank must call it."""
        self._meet()
        if self._automatic is not None:
            self._automatic.all_together()
        self._balance_anew()
        if self._planner is not None:
            self._planner.begin_anew(planned)

    def planned(self) -> Planned | None:
        """Return what those who rest must know of plans when they come back."""
        return self._planner.state() if self._planner is not None else None

    def figures(self) -> dict[str, Any]:
        """Return what the run's result says of its plan; nothing while there is none."""
        return self._planner.figures() if self._planner is not None else {}

    def story(self) -> dict[str, Any]:
        """Return what the job's story says of the plan."""
        return self._planner.story() if self._planner is not None else {}

"""Who trains, with which shares, and how: what changes in the course of a run.

All ranks train, or some do while the others rest. The first of those that train leads: it
writes the files and speaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beowulf.train.auto import Automatic
from beowulf.train.balance import Balancer
from beowulf.train.planner import Planned, Planner
from beowulf.train.rest import wake
from beowulf.train.shares import without

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI

    from beowulf.train.averaging import Averaging
    from beowulf.train.everybody import Everybody
    from beowulf.train.plan import Plan
    from beowulf.train.planner import Told
    from beowulf.train.rest import News


class Guide:
    """One rank's knowledge of who trains how. All that train know the same.

    Args:
        everybody: All ranks of the run.
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
        everybody: Everybody,
        averaging: Averaging,
        weights: tuple[float, ...],
        *,
        is_balanced: bool,
    ) -> None:
        self.weights = weights
        self._everybody = everybody
        self._automatic = averaging if isinstance(averaging, Automatic) else None
        self._is_balanced = is_balanced and everybody.size > 1
        self._batch = 0
        self._balancer: Balancer | None = None
        self._planner: Planner | None = None
        self._meet()

    def _meet(self) -> None:
        self.group: MPI.Intracomm = self._everybody.comm
        self.lead = self._everybody.first
        self.is_resting = False
        self._ranks = self._everybody.ranks

    @property
    def somebody_rests(self) -> bool:
        """Say whether there is a rank that does not train."""
        return self._ranks != self._everybody.ranks

    @property
    def _is_lead(self) -> bool:
        return self._everybody.rank == self.lead

    def begin(self, batch: int, may_rest: Callable[[], bool]) -> None:
        """Begin a loop with so many samples per step.

        ``may_rest`` says whether this rank's script lets ranks be left out.
        """
        self._batch = batch
        self._balance_anew()
        everybody = self._everybody
        if self._automatic is not None and everybody.size > 1:
            self._planner = Planner(
                self._automatic, batch, everybody.hosts, may_rest, everybody.lost
            )

    def _balance_anew(self) -> None:
        if self._is_balanced:  # a run that goes on finds out anew: it takes but a few steps
            self._balancer = Balancer(self._everybody.size, self._batch)
            self._balancer.rest(self._everybody.lost)
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
        self.is_resting = self._everybody.rank not in plan.ranks
        if self._balancer is not None:
            self._balancer.rest(set(range(self._everybody.size)).difference(plan.ranks))
            self.weights = self._balancer.weights
        return True

    def wake(self, news: News) -> None:
        """Send the news to all who rest, from the leading rank."""
        everybody = self._everybody
        if self._is_lead:
            resting = [rank for rank in everybody.ranks if rank not in self._ranks]
            wake(everybody.comm, [everybody.place_of(rank) for rank in resting], news)

    def come_together(self, planned: Planned | None) -> None:
        """Have all ranks train again, and find out anew how. Each rank must call it."""
        self._meet()
        if self._automatic is not None:
            self._automatic.all_together()
        self._balance_anew()
        if self._planner is not None:
            self._planner.begin_anew(planned)

    @property
    def balancer(self) -> Balancer | None:
        """What is known of each rank's speed, where shares follow it."""
        return self._balancer

    def carry_on(self, balancer: Balancer | None, planned: Planned | None) -> None:
        """Have all who are left train, by what one of them knows of speeds and plans."""
        lost = self._everybody.lost
        self._meet()
        self._balancer = balancer
        if balancer is not None:
            balancer.rest(lost)
            self.weights = balancer.weights
        else:
            self.weights = without(self.weights, lost)
        if self._planner is not None and planned is not None:
            self._planner.carry_on(lost, planned)

    def planned(self) -> Planned | None:
        """Return what those who rest must know of plans when they come back."""
        return self._planner.state() if self._planner is not None else None

    def figures(self) -> dict[str, Any]:
        """Return what the run's result says of its plan; nothing while there is none."""
        return self._planner.figures() if self._planner is not None else {}

    def story(self) -> dict[str, Any]:
        """Return what the job's story says of the plan."""
        return self._planner.story() if self._planner is not None else {}

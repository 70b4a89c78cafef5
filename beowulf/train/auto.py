"""Average in the way that a plan says, and in another one when the plan changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mpi4py import MPI

from beowulf.limits.step import wire_of
from beowulf.limits.wire import best_parts
from beowulf.train.buckets import BUCKET_BYTES
from beowulf.train.dense import Dense
from beowulf.train.exchange import Plain
from beowulf.train.machines import machines_of, measured_wire
from beowulf.train.parts import InHalfParts, InParts
from beowulf.train.plan import bucket_bytes_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.limits.quantities import Wire
    from beowulf.train.buckets import Bucket
    from beowulf.train.exchange import Exchange
    from beowulf.train.options import Auto
    from beowulf.train.plan import Plan


class Switch:
    """Adds up buckets in the way that is set, which may be another one from some step on."""

    is_exact: ClassVar[bool] = True

    def __init__(self) -> None:
        self.way: Exchange = Plain()

    def begin(self, samples: int) -> None:
        """Begin a step."""
        self.way.begin(samples)

    def __call__(self, comm: MPI.Comm, bucket: Bucket) -> None:
        """Replace ``bucket.flat`` by its sum over all ranks. Collective."""
        self.way(comm, bucket)


class LossySwitch(Switch):
    """The same, where what is told along with gradients must travel apart from them."""

    is_exact: ClassVar[bool] = False


class Automatic(Dense):
    """Averages as the plan says that it follows: ``dense`` among all ranks to begin with.

    Opening it measures the wires between machines, if there are several. Collective.

    Attributes:
        options: What it may choose from.
        machines: Which machine each rank is on.
        wire: What each rank's link carries; None if all are on one machine.
        group: The ranks that train; on a rank that rests, itself alone.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        options: Auto,
        *,
        overlap: bool | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.options = options
        self.machines = machines_of(comm) if comm.size > 1 else (0,)
        self.wire: Wire | None = None
        bucket_bytes = BUCKET_BYTES
        if len(set(self.machines)) > 1:
            self.wire = measured_wire(comm, self.machines)
            bucket_bytes = bucket_bytes_for(self.wire, BUCKET_BYTES)
        self._switch = LossySwitch() if options.allow and self.wire else Switch()
        super().__init__(comm, self._switch, overlap=overlap, say=say, bucket_bytes=bucket_bytes)
        self._all = comm
        self.group = comm
        self._everybody = self._wire

    @property
    def overlap(self) -> bool | None:
        """Whether gradients leave early; None as long as that is being tried."""
        return self._overlap

    def follow(self, plan: Plan) -> None:
        """Average among the ranks of a plan, as it says. Collective over all ranks of the run."""
        self.group = self._apart(plan.ranks)
        self.among(self.group)
        self.use(plan)

    def carry_on(self, comm: MPI.Intracomm) -> None:
        """Average by ``dense`` among those who are left. Collective."""
        self._given_up.append(self._switch.way)
        super().carry_on(comm)
        self._all, self._everybody = comm, self._wire
        self.all_together()

    def all_together(self) -> None:
        """Average by ``dense`` among all ranks again. Not collective."""
        self.group = self._all
        self.among(self._everybody)
        self._switch.way = Plain()

    def use(self, plan: Plan) -> None:
        """Add up as a plan says, among the same ranks as before. Not collective."""
        name = plan.strategy.name
        if name == "weighted" and self.wire is not None:
            self._switch.way = InParts(best_parts(wire_of(self.wire, plan.ranks)))
        else:
            self._switch.way = InHalfParts() if name == "fp16" else Plain()

    def _apart(self, ranks: tuple[int, ...]) -> MPI.Intracomm:
        mine = 0 if self._comm.rank in ranks else MPI.UNDEFINED
        group = self._all.Split(mine, key=self._comm.rank)
        return group if isinstance(group, MPI.Intracomm) and group else MPI.COMM_SELF

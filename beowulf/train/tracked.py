"""What a run consists of: equal on all ranks at its start, and after some have rested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beowulf.errors import CheckpointError
from beowulf.train.beginning import Beginning
from beowulf.train.checkpoints import Checkpoint
from beowulf.train.state import OWN, broadcast, copied, pack, restore

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.train.averaging import Averaging
    from beowulf.train.batches import Schedule
    from beowulf.train.everybody import Everybody
    from beowulf.train.state import PackedState


class Tracked:
    """What a script tracks, and what the averaging adds to it.

    Attributes:
        objects: What the script tracks, by name; empty before it has said so.
        beginning: What a step may change of that before it averages.
    """

    def __init__(self, everybody: Everybody) -> None:
        self.objects: dict[str, Any] = {}
        self.beginning = Beginning({})
        self._everybody = everybody
        self._kept: dict[str, Any] = {}  # what is tracked, and what the averaging adds
        self._restored: Checkpoint | None = None

    def begin(
        self,
        objects: dict[str, Any],
        averaging: Averaging,
        load: Callable[[], Checkpoint | None],
    ) -> None:
        """Set objects to what rank 0 loads, or else to what they are there. Collective.

        A missing rank leaves the others waiting.

        Raises:
            CheckpointError: The checkpoint is of other objects.
            TrainingError: An object cannot be saved.
        """
        self.objects = objects
        self._kept = {**objects, **averaging.adopt(objects)}
        comm = self._everybody.comm
        checkpoint = load() if comm.rank == 0 else None
        about = comm.bcast(checkpoint and (checkpoint.step, checkpoint.run))
        first = checkpoint.state if checkpoint else None
        if first is None and comm.rank == 0:
            first = self.packed()
        state = broadcast(comm, first)
        self.set_to(state)
        self.beginning = Beginning(self._kept)
        if about is not None:
            self._restored = Checkpoint(about[0], about[1], state)

    def begun_at(self, schedule: Schedule) -> int:
        """Return the number of steps done before, once the checkpoint is known to fit.

        Zero without a checkpoint, and in every loop after the first.

        Raises:
            CheckpointError: The checkpoint is of another run.
        """
        if self._restored is None:
            return 0
        step, run = self._restored.step, self._restored.run
        if run != vars(schedule):
            raise CheckpointError(
                f"the checkpoint was made with {run}, "
                f"this run has {vars(schedule)}; submit it as a new job"
            )
        self._restored = None
        return step

    def packed(self) -> PackedState:
        """Return all that a checkpoint holds. Arrays are not copied: use it at once."""
        return pack(self._kept)

    def copied(self) -> PackedState:
        """Return all that a checkpoint holds, as it is now."""
        return copied(self.packed())

    def set_to(self, state: PackedState) -> None:
        """Set what is tracked to what it was, in place.

        Raises:
            CheckpointError: The state is of other objects.
        """
        restore(self._kept, state, optional=OWN)

    def checkpoint(self, step: int, schedule: Schedule) -> Checkpoint:
        """Return the run after ``step``. Arrays are not copied: save it at once."""
        return Checkpoint(step, dict(vars(schedule)), self.packed())

    def take_from(self, lead: int, *, has_rested: bool) -> None:
        """Set what is tracked to what it is on ``lead``, on ranks that have rested.

        Collective over all ranks: a missing one leaves the others waiting.
        """
        everybody = self._everybody
        mine = self.packed() if everybody.rank == lead else None
        state = broadcast(everybody.comm, mine, everybody.place_of(lead))
        if has_rested:
            self.set_to(state)

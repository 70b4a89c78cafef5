"""Go on in place when ranks are lost: those who are left redo the step with other shares.

MPI tells them in the middle of a call, at different moments of a step. They leave out who is
gone (``Everybody.regroup``), say so in the job's directory, and compare where they stand. As
every step takes a word of every rank, nobody can be further ahead than one exchange: whoever is
behind takes over the state of one who is ahead; otherwise all go back to the step's beginning,
of which nothing had been put to use. So no sample is lost or used twice, and nobody reads a
checkpoint.

A script can't be interrupted in the middle of its loop's body. So the body runs to its end, with
gradients of zero, and what it did to what it tracks is undone after it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

from beowulf.errors import RanksLost
from beowulf.job.losses import said_lost
from beowulf.train.agreement import Before, agreed
from beowulf.train.everybody import can_survive, tells_of_loss
from beowulf.train.state import broadcast

if TYPE_CHECKING:
    from beowulf.job.directory import JobDirectory
    from beowulf.train.averaging import Averaging
    from beowulf.train.balance import Balancer
    from beowulf.train.everybody import Everybody
    from beowulf.train.guide import Guide
    from beowulf.train.ledger import Ledger
    from beowulf.train.planner import Planned
    from beowulf.train.state import PackedState
    from beowulf.train.tally import Tally
    from beowulf.train.tracked import Tracked

REMEMBERED_STEPS = 1024  # whose lines may not have been written yet: those of half a second
USUAL_STEPS = 32  # of which the median is how long a step takes
MOST_IN_VAIN = 5  # meetings, one after the other, in which nobody is found to be missing
RESTED = -1


@dataclass(frozen=True)
class Standing:
    """Where one rank stands: how many steps it has done, ``RESTED`` for one that did not train."""

    steps: int
    losses: int
    can_go_on: bool


@dataclass(frozen=True)
class Word:
    """What one that is furthest tells all the others."""

    tally: Tally
    line: dict[str, Any] | None
    balancer: Balancer | None
    planned: Planned | None
    reported: dict[str, Any]


@dataclass(frozen=True)
class Settled:
    """The state of a step's beginning, kept as a whole, and when that was (``time.monotonic``)."""

    began_at: float
    tally: Tally
    state: PackedState


@dataclass(slots=True)
class Rescue:
    """One rank's part in going on after a loss.

    Attributes:
        is_on: Whether there is anybody to go on with, and MPI tells of losses.
        is_undone: Whether the step under way is to be done again.
    """

    everybody: Everybody
    files: JobDirectory
    attempt: int
    averaging: Averaging
    guide: Guide
    tracked: Tracked
    ledger: Ledger
    is_on: bool = field(init=False)
    is_undone: bool = field(default=False, init=False)
    _averaged: int = field(default=0, init=False)  # how often in this step
    _averages_in_parts: bool = field(default=False, init=False)
    _settled: Settled | None = field(default=None, init=False)
    _held: PackedState | None = field(default=None, init=False)
    _lines: deque[dict[str, Any]] = field(init=False)
    _in_vain: int = field(default=0, init=False)
    _lost_before: tuple[int, ...] = field(default=(), init=False)
    _began_at: float = field(default=0.0, init=False)  # the step, by time.monotonic
    _interrupted_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.is_on = self.everybody.size > 1 and can_survive()
        self._lines = deque(maxlen=REMEMBERED_STEPS)

    def begin_step(self, tally: Tally) -> None:
        """Note what a step that begins may have to bring back."""
        self._averaged = 0
        if not self.is_on:
            return
        self._began_at = time.monotonic()
        if not self._keeps_copies:
            self.tracked.beginning.note()
        elif self.averaging.is_settled:
            self._settled = Settled(self._began_at, replace(tally), self.tracked.copied())

    @property
    def _keeps_copies(self) -> bool:
        """Say whether the state of a step's beginning can't be had in its middle."""
        return self._averages_in_parts or not self.averaging.keeps_equal

    def end_averaging(self) -> None:
        """Note that all ranks have averaged, once more in this step."""
        self._averaged += 1
        self._averages_in_parts |= self._averaged > 1

    def remember(self, line: dict[str, Any]) -> None:
        """Keep a step's line, in case that whoever is to write it does not live to."""
        self._lines.append(line)

    def lose(self, error: MPI.Exception, tally: Tally, *, is_in_step: bool) -> None:
        """Go on with those who are left, at the step that is in ``tally`` then.

        ``is_in_step`` says that the script is at work, so that the state is held back until
        ``undo``. Collective over those who are left.

        Raises:
            RanksLost: They can't go on, or others do without this one.
            MPI.Exception: It was something else.
        """
        if not tells_of_loss(error):
            raise error
        if not self.is_on:
            raise RanksLost("cannot go on without the ranks that are gone") from error
        if self._interrupted_at is None:
            self._interrupted_at = self._began_at
        standing = self._stand(tally, is_in_step=is_in_step)
        has_met = False
        while not has_met:
            try:
                self._meet(standing, tally)
                has_met = True
            except MPI.Exception as another:  # others are lost while those who are left meet
                if not tells_of_loss(another):
                    raise
                has_state = standing.steps != RESTED or self._held is not None
                steps = tally.steps if has_state else RESTED
                standing = replace(standing, steps=steps, losses=self.everybody.losses)

    def undo(self) -> None:
        """Set what is tracked to what the step to be done again begins with."""
        if self._held is not None:
            self.tracked.set_to(self._held)
        self._held = None
        self.is_undone = False

    def carried_on(self, step: int) -> None:
        """Tell how long a loss has cost, once ``step`` is done again."""
        began, self._interrupted_at, self._in_vain = self._interrupted_at, None, 0
        if began is None or self.everybody.rank != self.guide.lead:
            return
        everybody = self.everybody
        self.ledger.tell(
            "carried_on",
            ranks=list(everybody.ranks),
            hosts=everybody.hosts_of(everybody.ranks),
            step=step,
            lost_s=round(self._began_at - began, 3),
        )

    def _stand(self, tally: Tally, *, is_in_step: bool) -> Standing:
        """Say where this rank stands, and hold back the state that belongs to it."""
        can_go_on = bool(self.tracked.objects)
        if self.guide.is_resting:
            return Standing(RESTED, self.everybody.losses, can_go_on)
        if self._held is None and (is_in_step or not self.averaging.keeps_equal):
            if self._settled is not None and self._keeps_copies:
                settled, self._held = self._settled.tally, self._settled.state
                self._interrupted_at = self._settled.began_at
                tally.steps, tally.samples = settled.steps, settled.samples
                tally.training_s, tally.loss = settled.training_s, settled.loss
            else:
                can_go_on = can_go_on and self._averaged == 0
                self.tracked.beginning.bring_back()
                self._held = self.tracked.copied()
        self.is_undone = self._held is not None
        while self._lines and self._lines[-1]["step"] > tally.steps:
            self._lines.pop()
        return Standing(tally.steps, self.everybody.losses, can_go_on)

    def _meet(self, mine: Standing, tally: Tally) -> None:
        """Meet the others, and take over what they have come to. Collective."""
        everybody = self.everybody
        lost = everybody.lost
        everybody.regroup()
        self._in_vain = self._in_vain + 1 if everybody.lost == lost else 0
        if self._in_vain > MOST_IN_VAIN:
            raise RanksLost("MPI speaks of ranks that are gone, again and again, but none is")
        comm = everybody.comm
        standings = comm.allgather(mine)
        if not all(standing.can_go_on for standing in standings):
            raise RanksLost(f"cannot go on without {everybody.named(everybody.lost)}")
        steps = [standing.steps for standing in standings]
        furthest = steps.index(max(steps))
        before = Before(
            self.attempt, max(one.losses for one in standings), len(self._lost_before), max(steps)
        )
        losses = agreed(everybody, self.files, before)
        word = comm.bcast(self._word(tally) if comm.rank == furthest else None, furthest)
        if min(steps) < max(steps):
            state = self._held or self.tracked.packed() if comm.rank == furthest else None
            state = broadcast(comm, state, furthest)
            if mine.steps < max(steps):
                self._catch_up(word, state, tally, has_rested=mine.steps == RESTED)
        everybody.losses = losses
        self.averaging.carry_on(comm)
        self.guide.carry_on(word.balancer, word.planned)
        self._write(tally.steps)

    def _word(self, tally: Tally) -> Word:
        line = self._lines[-1] if self._lines else None
        balancer, planned = self.guide.balancer, self.guide.planned()
        return Word(tally, line, balancer, planned, self.ledger.reported)

    def _catch_up(self, word: Word, state: PackedState, tally: Tally, *, has_rested: bool) -> None:
        """Take over what another one has come to."""
        self._held = state
        self.is_undone = True
        if has_rested:
            self.ledger.reported |= word.reported
            tally.samples, tally.training_s = word.tally.samples, word.tally.training_s
            tally.planned = dict(word.tally.planned)
        tally.steps, tally.loss = word.tally.steps, word.tally.loss
        if word.line is not None:
            self._lines.append(word.line)

    def _write(self, step: int) -> None:
        """Have the leading rank write from now on, and tell who was lost."""
        everybody, ledger = self.everybody, self.ledger
        self._lost_before = everybody.lost
        if everybody.rank != self.guide.lead:
            ledger.give_back()
            return
        ledger.go_on(step, self._lines)
        # Whoever was to tell of a loss before may have been lost with it, untold.
        told = said_lost(self.files, self.attempt)
        new = [rank for rank in everybody.lost if rank not in told]
        if new:
            took = [line["step_s"] for line in self._lines]
            ledger.tell(
                "lost",
                ranks=new,
                hosts=everybody.hosts_of(new),
                step=step + 1,
                attempt=self.attempt,
                step_s=median(took[-USUAL_STEPS:]) if took else None,
            )

"""One rank's way through the steps of a run: it trains, rests, and is called back."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

from beowulf.errors import TrainingError
from beowulf.train.batches import Batch
from beowulf.train.figures import bytes_of
from beowulf.train.gradients import Gradients, as_number, blank
from beowulf.train.identical import check_identical
from beowulf.train.opening import total_steps
from beowulf.train.rest import News, wait_for_news
from beowulf.train.shares import part_of
from beowulf.train.tally import Tally
from beowulf.train.timer import StepTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from beowulf.job.directory import JobDirectory
    from beowulf.train.averaging import Averaging
    from beowulf.train.batches import Schedule
    from beowulf.train.control import Told
    from beowulf.train.everybody import Everybody
    from beowulf.train.guide import Guide
    from beowulf.train.ledger import Ledger
    from beowulf.train.rescue import Rescue
    from beowulf.train.saving import Saver
    from beowulf.train.tracked import Tracked


@dataclass(slots=True)
class Loop:
    """The steps, and what must be the same on all ranks between two of them.

    Attributes:
        has_lent_comm: Whether the script may talk to all ranks itself, so that none may rest.
        has_left: Whether the script left the loop before its end, perhaps while others rest.
        current: The latest batch, None before the first.
        compute_s: How long each rank computed in the latest step.
        gradient_bytes: How many bytes of gradients a step averages.
    """

    everybody: Everybody
    files: JobDirectory
    averaging: Averaging
    guide: Guide
    tracked: Tracked
    ledger: Ledger
    saver: Saver
    rescue: Rescue
    say: Callable[[object], None]
    micro_batch: int | None
    has_lent_comm: bool = False
    has_left: bool = False
    current: Batch | None = None
    compute_s: tuple[float, ...] = ()
    gradient_bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    _timer: StepTimer = field(default_factory=StepTimer, init=False)
    _is_over: bool = field(default=False, init=False)
    _rank: int = field(init=False)
    _world_size: int = field(init=False)

    def __post_init__(self) -> None:
        self._rank, self._world_size = self.everybody.rank, self.everybody.size

    def batches(self, schedule: Schedule, epochs: int | None, steps: int | None) -> Iterator[Batch]:
        """Yield this rank's part of each step, from where the run stands to its end.

        Raises:
            TrainingError: Neither epochs nor steps were given, or a value makes no sense.
            CheckpointError: The checkpoint is of another run (seed, batch or data size).
        """
        self.call_all(is_over=True)  # if the script left an earlier loop
        self._is_over = self.has_left = False
        total = total_steps(schedule, epochs, steps)
        self._resume(schedule)
        sees_files = all(self.everybody.comm.allgather(self.files.path.is_dir()))
        self.guide.begin(
            min(schedule.global_batch, schedule.samples),
            lambda: bool(self.tracked.objects) and sees_files and not self.has_lent_comm,
        )
        try:
            while self.tally.steps < total and not self._is_over:
                try:
                    yield from self._train(schedule, total)
                    if self.guide.is_resting:
                        self._take(wait_for_news(self.everybody.comm, self._look_after))
                    if self.tally.steps >= total:
                        self.call_all(is_over=True)
                except MPI.Exception as error:
                    # Between two steps: an error of the script's own body never comes here.
                    self.lose(error, is_in_step=False)
                self.rescue.undo()
        except GeneratorExit:  # perhaps because of an error, which must not wait for anybody
            self.has_left = True
            raise
        self.call_all(is_over=True)

    def lose(self, error: MPI.Exception, *, is_in_step: bool) -> None:
        """Go on with those who are left, as ``Rescue.lose`` says. Collective over them."""
        everybody, before = self.everybody, self.everybody.lost
        self.rescue.lose(error, self.tally, is_in_step=is_in_step)
        if new := [rank for rank in everybody.lost if rank not in before]:
            left = len(everybody.ranks)
            self.say(
                f"beowulf: {everybody.named(new)} stopped answering; carrying on with {left} "
                f"rank{'s' if left > 1 else ''} from step {self.tally.steps + 1}"
            )
        self.saver.begin()

    def average(self, gradients: Gradients, loss: Any) -> float:
        """Average over all ranks, as ``Run.average`` says. Collective."""
        if self.current is None:
            raise TrainingError("average: call it inside the loop over run.batches(...)")
        computed_s = self._timer.stop_computing()
        if not self.tally.samples:  # the first step's are those of every step
            self.gradient_bytes += bytes_of(gradients)
        loss_sum = 0.0 if loss is None else as_number(loss)
        if self.rescue.is_undone:
            return self._undone(gradients)
        try:
            told = self.averaging.average(gradients, loss_sum, computed_s)
        except MPI.Exception as error:
            self.lose(error, is_in_step=True)
            return self._undone(gradients)
        self.rescue.end_averaging()
        mean = told.loss_sum / self.current.samples
        before = self.compute_s  # of this step: a script may average by parts
        both = zip(before, told.compute_s, strict=True) if before else ()
        self.compute_s = tuple(map(sum, both)) if before else told.compute_s
        self.tally.loss = None if loss is None else mean
        self._timer.go_on_computing()
        return mean

    def _undone(self, gradients: Gradients) -> float:
        """Let the script go on to the end of a step that is done again after it."""
        blank(gradients)
        return self.tally.loss if self.tally.loss is not None else 0.0

    def call_all(self, *, is_over: bool) -> None:
        """Have all ranks train again, or end. Collective over those that train so far."""
        guide, tally = self.guide, self.tally
        tally.planned |= guide.figures()
        if guide.somebody_rests:
            self.ledger.flush()
            self.saver.wait()  # another rank may be the next to save
            news = News(is_over, guide.lead, guide.planned(), tally, self.ledger.reported)
            guide.wake(news)
            self._take(news)

    def _take(self, news: News) -> None:
        """Take the state from the leading rank, and begin as in the first step. Collective."""
        has_rested = self.guide.is_resting
        self.tracked.take_from(news.lead, has_rested=has_rested)
        if has_rested:
            self.tally = news.so_far
            self.ledger.reported |= news.reported
        self._is_over, self.has_left = news.is_over, False
        self.saver.begin()
        self.guide.come_together(news.planned)
        if self._rank == self.guide.lead:
            self.ledger.take_over()
        else:
            self.ledger.give_back()

    def _resume(self, schedule: Schedule) -> None:
        """Go on from the checkpoint, if it fits, or else from the beginning."""
        start = self.tracked.begun_at(schedule)
        last = self.ledger.forget_after(start)
        if last is not None:
            self.tally.loss = last.get("loss")
        self.tally.steps = start
        self.saver.begin()

    def _train(self, schedule: Schedule, total: int) -> Iterator[Batch]:
        """Yield the steps until the end, or until this rank rests or is called back."""
        rank, start = self._rank, self.tally.steps
        # Sizes are but two: full, and the last.
        shares_of = functools.lru_cache(8)(functools.partial(part_of, rank))
        for step, epoch, indices in schedule.global_batches(start, total):
            size = len(indices)
            shares, mine = shares_of(size, self.guide.weights)
            self.rescue.begin_step(self.tally)
            self.averaging.begin(size, shares[rank])
            self.current = Batch(
                step + 1, epoch + 1, size, shares, indices[mine], self.micro_batch,
                self.averaging.step,
            )  # fmt: skip
            self.tally.loss = None
            self.compute_s = ()
            self._timer.begin()
            yield self.current
            if self.rescue.is_undone:
                return
            self._timer.rest()
            self._hear_more(self.averaging.end(is_last=step + 1 == total), size)
            step_ns = self._timer.end()
            wire_s = self._timer.wire_s(self.compute_s, rank) if self._keeps_lines else None
            self._end_step(self.current, step_ns, wire_s, total, schedule)
            if self._world_size > 1 and len(self.compute_s) == self._world_size:
                self._learn(shares, step_ns / 1e9, wire_s)
                if self.guide.is_resting:
                    return

    def _hear_more(self, told: Told | None, samples: int) -> None:
        """Take in what the averaging knows only now, at the end of a step."""
        if told is not None:
            self.compute_s = told.compute_s
            self.tally.loss = None if self.tally.loss is None else told.loss_sum / samples

    def _end_step(
        self, batch: Batch, step_ns: int, wire_s: float | None, total: int, schedule: Schedule
    ) -> None:
        """Count a step, and write down what there is to be written of it."""
        tally, ledger = self.tally, self.ledger
        tally.steps = batch.step
        tally.samples += batch.samples
        tally.training_s += step_ns / 1e9
        now = time.monotonic()
        line = None
        if self._keeps_lines:
            line = self._line(batch, step_ns, wire_s, total)
            self.rescue.remember(line)  # before the others are asked: some may be lost
        if self.averaging.keeps_equal:
            check_identical(self.guide.group, self.tracked.objects, batch.step, total)
        if line is None:
            ledger.look_after(now, batch.step)
            return
        self.rescue.carried_on(batch.step)
        if ledger.has_metrics:
            ledger.add(line)
            is_owed = self.saver.owes(batch.step, total, now)
            if is_owed and self.tracked.objects and self.averaging.is_settled:
                ledger.flush()
                checkpoint = self.tracked.checkpoint(batch.step, schedule)
                self.saver.save(checkpoint, wait=batch.step == total)
        ledger.look_after(now, batch.step)

    @property
    def _keeps_lines(self) -> bool:
        """Say whether this rank writes the metrics, or may have to after a loss."""
        return self.ledger.has_metrics or self.rescue.is_on

    def _line(self, batch: Batch, step_ns: int, wire_s: float | None, total: int) -> dict[str, Any]:
        """Return what the metrics say of a step."""
        return {
            "step": batch.step,
            "total_steps": total,
            "epoch": batch.epoch,
            "loss": self.tally.loss,
            "samples": batch.samples,
            "step_s": step_ns // 100 / 1e7,  # whole tenths of a microsecond
            "world_size": len(self.everybody.ranks),
            "shares": batch.shares,
            "compute_s": [round(seconds, 7) for seconds in self.compute_s],
            "wire_s": wire_s,
        }

    def _learn(self, shares: tuple[int, ...], step_s: float, wire_s: float | None) -> None:
        """Let shares, and now and then the plan, follow what the step has shown."""
        guide = self.guide
        told = guide.learn(shares, self.compute_s, step_s, wire_s)
        if told is None:
            return
        for word in told.words:
            self.say(word)
        if self._rank == guide.lead:
            self.ledger.tell_plan(guide.story())
        if told.plan.ranks[0] != guide.lead:
            self.saver.wait()  # another rank is the next to save
        if not guide.follow(told.plan):
            self.call_all(is_over=False)
        elif self._rank == guide.lead:
            self.ledger.take_over()

    def _look_after(self, now: float) -> None:
        """Show that this rank is there while it rests."""
        self.ledger.look_after(now, self.tally.steps)

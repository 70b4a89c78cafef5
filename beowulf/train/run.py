"""A training run: what a script opens, takes batches from, averages with and saves to."""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mpi4py import MPI

from beowulf.durable import write_json
from beowulf.errors import CheckpointError, TrainingError
from beowulf.job.directory import JobDirectory
from beowulf.job.events import record_event
from beowulf.job.figures import KEY as FIGURES
from beowulf.job.heartbeat import Heartbeat
from beowulf.train.batches import Batch, Schedule
from beowulf.train.checkpoints import Checkpoint, CheckpointStore
from beowulf.train.dataset import load_once_per_node
from beowulf.train.figures import bytes_of, figures_of
from beowulf.train.gradients import Gradients, as_number
from beowulf.train.guide import Guide
from beowulf.train.identical import check_identical
from beowulf.train.metrics import MetricsWriter
from beowulf.train.opening import check_world_size, open_directory, total_steps, weights_of
from beowulf.train.rest import News, wait_for_news
from beowulf.train.shares import split
from beowulf.train.state import OWN, broadcast, pack, restore
from beowulf.train.strategy import averaging_named
from beowulf.train.timer import StepTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from beowulf.train.control import Told
    from beowulf.train.options import Options

Data = TypeVar("Data")

HEARTBEAT_EVERY_S = 1.0
FIRST_CHECKPOINT_S = 1.0
COUNTED = ("_steps_done", "_samples_done", "_training_s", "_loss", "_planned")


class Run:
    """One rank's view of a training run. Open it with ``with``, on every rank alike.

    Args:
        global_batch: Samples per step, over all ranks together. The contract: ranks
            and shares change how fast a step is, never what it computes.
        seed: Decides the order of the samples.
        shares: How to split each global batch. None lets shares follow each rank's
            measured speed; ``"equal"`` keeps them equal; numbers, one weight per rank,
            or ``"5:2:1:0"`` keep to these weights.
        micro_batch: The most samples that this rank takes in one go, for its memory's
            sake, however large its share; it may differ from rank to rank.
        averaging: ``"auto"`` chooses by measuring, among what changes nothing about the result,
            and leaves out machines that cost more than they give; ``"dense"``, ``"naive"``,
            ``"fp16"``, ``"weighted"``, ``"powersgd"`` and ``"diloco"`` are fixed choices. Or the
            options of one of them, as ``PowerSGD(rank=2)``; docs/strategies.md says when
            which pays.
        overlap: Whether gradients travel while others are still being computed. None to
            try both in the first steps and keep what is faster.
        checkpoint_every_s: The most seconds between checkpoints. The first is made after
            one second, and each later one after twice the time, until this is reached.
            None for none but the last.
        checkpoint_every_steps: Steps between checkpoints, in addition.

    Raises:
        WorldSizeError: MPI started another number of ranks than the job was promised.
        TrainingError: A value makes no sense.
    """

    def __init__(  # noqa: PLR0913 - the options of a run, each named at the call
        self,
        *,
        global_batch: int,
        seed: int = 0,
        shares: str | Sequence[float] | None = None,
        micro_batch: int | None = None,
        averaging: str | Options = "auto",
        overlap: bool | None = None,
        checkpoint_every_s: float | None = 60.0,
        checkpoint_every_steps: int | None = None,
    ) -> None:
        for name, value in (("global_batch", global_batch), ("micro_batch", micro_batch)):
            if value is not None and value < 1:
                raise TrainingError(f"{name}: {value} must be 1 or more")
        if seed < 0:
            raise TrainingError(f"seed: {seed} must be 0 or more")
        self._comm = MPI.COMM_WORLD.Dup()
        self.rank = self._comm.rank
        self.world_size = self._comm.size
        check_world_size(self.world_size)
        self.global_batch = global_batch
        self.seed = seed
        self.micro_batch = micro_batch
        weights = weights_of(shares, self.world_size)
        self.attempt = int(os.environ.get("BEOWULF_ATTEMPT", "1"))
        self._files = open_directory(self._comm)
        self._averaging = averaging_named(averaging, self._comm, overlap=overlap, say=self.say)
        self._guide = Guide(self._comm, self._averaging, weights, is_balanced=shares is None)
        self._is_over = False
        self._has_left_loop = False
        self._has_lent_comm = False
        self._planned: dict[str, Any] = {}  # what the result says of it
        self.compute_s: tuple[float, ...] = ()  # how long each rank computed in the latest step
        self._timer = StepTimer()
        self._checkpoints = CheckpointStore(self._files.checkpoints)
        self._checkpoint_every_s = checkpoint_every_s
        self._checkpoint_every_steps = checkpoint_every_steps
        self._metrics = MetricsWriter(self._files.metrics) if self.rank == 0 else None
        self._tracked: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}  # what is tracked, and what the averaging adds
        self._windows: list[MPI.Win] = []
        self._restored: Checkpoint | None = None
        self._reported: dict[str, Any] = {}
        self._current: Batch | None = None
        self._loss: float | None = None
        self._steps_done = 0
        self._samples_done = 0
        self._gradient_bytes = 0
        self._training_s = 0.0
        self._heartbeat_at = 0.0
        self._checkpoint_at = time.monotonic()
        self._is_checkpoint_owed = False
        self._pause_s = FIRST_CHECKPOINT_S

    @property
    def comm(self) -> MPI.Intracomm:
        """All ranks of the run, for what a script has to say to them itself.

        A script that asks for it before the loop or inside it keeps all ranks at work, lest
        one that rests be missing.

        Raises:
            TrainingError: Inside the loop, where somebody rests.
        """
        self._has_lent_comm = True
        if self._has_left_loop:
            self._call_all(is_over=True)
        if self._guide.somebody_rests:
            raise TrainingError(
                "comm: a machine rests, so that it cannot take part; open the run with "
                "averaging=train.Auto(rest=False)"
            )
        return self._comm

    @property
    def weights(self) -> tuple[float, ...]:
        """Each rank's weight in the next batch."""
        return self._guide.weights

    @property
    def directory(self) -> Path:
        """Where the job's files are; pictures put here are shown when the job ends."""
        return self._files.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush_metrics()
        if kind is None:
            self._call_all(is_over=True)
        self._averaging.close(wait=kind is None)
        if kind is None:
            self._finish()

    def say(self, text: object) -> None:
        """Print on one rank alone: rank 0, or, while it rests, the first that does not."""
        if self.rank == self._guide.lead:
            print(text, flush=True)

    def dataset(self, load: Callable[[], Data]) -> Data:
        """Load the data once per node and see it from every rank, read-only.

        ``load`` runs on one rank per node and returns an array, or a tuple or dict of
        arrays. Collective: a missing rank leaves the others waiting.

        Raises:
            TrainingError: A machine rests.
        """
        if self._guide.somebody_rests:
            raise TrainingError(
                "dataset: a machine rests, so that it cannot load the data now; call it before "
                'the loop, or open the run with averaging="dense"'
            )
        data, window = load_once_per_node(self._comm, load)
        self._windows.append(window)  # the views are gone with it, so it stays to the end
        return data

    def track(self, **objects: Any) -> None:
        """Name what the run consists of: it starts equal everywhere and is kept safe.

        Each object (NumPy arrays, PyTorch modules and optimizers, random generators,
        dicts and lists of them) is set in place, on every rank, to what the newest
        valid checkpoint holds, or else to what it is on rank 0, and goes into every
        checkpoint from now on. Call it once, before ``batches``. Collective: a missing
        rank leaves the others waiting.

        Raises:
            CheckpointError: The checkpoint is of other objects.
            TrainingError: An object cannot be saved.
        """
        if self._tracked or self._current is not None:
            raise TrainingError("track: call it once, before batches")
        self._tracked = objects
        self._kept = {**objects, **self._averaging.adopt(objects)}
        checkpoint = self._load_checkpoint() if self.rank == 0 else None
        about = self._comm.bcast(checkpoint and (checkpoint.step, checkpoint.run))
        first = (checkpoint.state if checkpoint else pack(self._kept)) if self.rank == 0 else None
        state = broadcast(self._comm, first)
        restore(self._kept, state, optional=OWN)
        if about is not None:
            self._restored = Checkpoint(about[0], about[1], state)

    def batches(
        self, samples: int, *, epochs: int | None = None, steps: int | None = None
    ) -> Iterator[Batch]:
        """Yield this rank's part of each step, from where the run stands to its end.

        ``samples`` is the size of the data set. The run ends after ``epochs`` passes
        over it or after ``steps`` steps, whichever comes first. Between two steps the
        metrics are written and, when it is time, a checkpoint.

        Raises:
            TrainingError: Neither epochs nor steps were given, or a value makes no sense.
            CheckpointError: The checkpoint is of another run (seed, batch or data size).
        """
        self._call_all(is_over=True)  # if the script left an earlier loop
        self._is_over = self._has_left_loop = False
        schedule = Schedule(samples, self.global_batch, self.seed)
        total = total_steps(schedule, epochs, steps)
        self._resume(schedule)
        sees_files = all(self._comm.allgather(self._files.path.is_dir()))  # whoever leads writes
        self._guide.begin(
            min(self.global_batch, samples),
            lambda: bool(self._tracked) and sees_files and not self._has_lent_comm,
        )
        try:
            while self._steps_done < total and not self._is_over:
                yield from self._train(schedule, total)
                if self._guide.is_resting:
                    self._take(wait_for_news(self._comm, self._look_after))
        except GeneratorExit:  # perhaps because of an error, which must not wait for anybody
            self._has_left_loop = True
            raise
        self._call_all(is_over=True)

    def _train(self, schedule: Schedule, total: int) -> Iterator[Batch]:
        """Yield the steps until the end, or until this rank rests or is called back."""
        part_of = functools.lru_cache(8)(self._part_of)  # sizes are but two: full, and the last
        start = self._steps_done
        for step, epoch, indices in schedule.global_batches(start, total):
            size = len(indices)
            shares, mine = part_of(size, self.weights)
            self._averaging.begin(size, shares[self.rank])
            self._current = Batch(
                step + 1, epoch + 1, size, shares, indices[mine], self.micro_batch,
                self._averaging.step,
            )  # fmt: skip
            self._loss = None
            self.compute_s = ()
            self._timer.begin()
            yield self._current
            self._timer.rest()
            self._hear_more(self._averaging.end(is_last=step + 1 == total), size)
            step_ns = self._timer.end()
            self._end_step(self._current, step_ns, total, schedule)
            if self.world_size > 1 and len(self.compute_s) == self.world_size:
                self._learn(shares, step_ns / 1e9)
                if self._guide.is_resting:
                    return

    def _learn(self, shares: tuple[int, ...], step_s: float) -> None:
        """Let shares, and now and then the plan, follow what the step has shown."""
        guide = self._guide
        wire_s = self._timer.wire_s(self.compute_s, guide.lead) if guide.asks_for_wire else None
        told = guide.learn(shares, self.compute_s, step_s, wire_s)
        if told is None:
            return
        for word in told.words:
            self.say(word)
        if self.rank == guide.lead:
            self.flush_metrics()
            record_event(self._files, "planned", **guide.story())
        if not guide.follow(told.plan):
            self._call_all(is_over=False)
        elif self.rank == guide.lead and self._metrics is None:
            self._metrics = MetricsWriter(self._files.metrics)

    def _call_all(self, *, is_over: bool) -> None:
        """Have all ranks train again, or end. Collective over those that train so far."""
        guide = self._guide
        self._planned |= guide.figures()
        if guide.somebody_rests:
            self.flush_metrics()
            so_far = {name: getattr(self, name) for name in COUNTED}
            news = News(is_over, guide.lead, guide.planned(), so_far, self._reported)
            guide.wake(news)
            self._take(news)

    def _take(self, news: News) -> None:
        """Take the state from the leading rank, and begin as in the first step. Collective."""
        mine = pack(self._kept) if self.rank == news.lead else None
        state = broadcast(self._comm, mine, news.lead)
        if self._guide.is_resting:
            restore(self._kept, state, optional=OWN)
            for name, value in news.so_far.items():
                setattr(self, name, value)
            self._reported |= news.reported
        if self.rank:
            self._metrics = None
        self._is_over, self._has_left_loop = news.is_over, False
        self._checkpoint_at = time.monotonic()
        self._guide.come_together(news.planned)

    def _look_after(self, now: float) -> None:
        """Say about once a second that this rank is there."""
        if now - self._heartbeat_at > HEARTBEAT_EVERY_S:
            self._heartbeat_at = now
            if self._files.heartbeats.is_dir():
                Heartbeat(self.rank, self.attempt, step=self._steps_done).write(self._files)

    def _part_of(self, size: int, weights: Sequence[float]) -> tuple[tuple[int, ...], slice]:
        """Return every rank's share of a batch of ``size``, and where in it this rank's lies."""
        shares = tuple(split(size, weights))
        first = sum(shares[: self.rank])
        return shares, slice(first, first + shares[self.rank])

    def average(self, gradients: Gradients, loss: Any = None) -> float:
        """Average gradients, in place, over the global batch, and return the mean loss.

        ``gradients`` (an array, a list or dict of arrays, or a PyTorch module) and
        ``loss`` are *sums* over this rank's samples: zeros for an empty share. Call it
        on every rank, once per step. Collective: a missing rank leaves the others
        waiting.

        Raises:
            TrainingError: It is called outside of ``batches``, or with what MPI cannot add.
        """
        if self._current is None:
            raise TrainingError("average: call it inside the loop over run.batches(...)")
        computed_s = self._timer.stop_computing()
        if not self._samples_done:  # the first step's are those of every step
            self._gradient_bytes += bytes_of(gradients)
        loss_sum = 0.0 if loss is None else as_number(loss)
        told = self._averaging.average(gradients, loss_sum, computed_s)
        mean = told.loss_sum / self._current.samples
        before = self.compute_s  # of this step: a script may average by parts
        both = zip(before, told.compute_s, strict=True) if before else ()
        self.compute_s = tuple(map(sum, both)) if before else told.compute_s
        self._loss = None if loss is None else mean
        self._timer.go_on_computing()
        return mean

    def _hear_more(self, told: Told | None, samples: int) -> None:
        """Take in what the averaging knows only now, at the end of a step."""
        if told is not None:
            self.compute_s = told.compute_s
            self._loss = None if self._loss is None else told.loss_sum / samples

    def gradients(self, weights: Any) -> Any:
        """Return arrays of zeros for the gradients of ``weights``, to be given to ``average``.

        ``weights`` is an array, or a list or dict of arrays; what is returned looks like it.
        The arrays lie where they are sent from, so that ``average`` need not gather them.
        They keep what is in them: begin each step by setting them to zero. Gradients of
        16-bit weights have 32 bits. Collective: a missing rank leaves the others waiting.

        Raises:
            TrainingError: There is something else in it than floating-point arrays.
        """
        return self._averaging.gradients(weights)

    def ready(self, gradient: NDArray[np.floating]) -> None:
        """Say that this rank's sum in ``gradient`` is complete, so that it may be sent.

        ``gradient`` is one of the arrays of ``gradients``. While it travels, the script computes
        the others; until it is averaged it can't be written to. Say it for the last layer
        first. In a step with several micro-batches, all but the last one's calls do nothing,
        so that it can stand in the loop. Not collective.

        Raises:
            TrainingError: It is none of the arrays that ``gradients`` returned.
        """
        self._averaging.ready(gradient)

    def report(self, **values: Any) -> None:
        """Add rank 0's values to the job's ``result.json``, for example ``test_accuracy``."""
        for name, value in values.items():
            self._reported[name] = value.item() if hasattr(value, "item") else value

    def flush_metrics(self) -> None:
        """Write out the metrics of the steps so far, to read them from the file."""
        if self._metrics is not None:
            self._metrics.flush()

    def _load_checkpoint(self) -> Checkpoint | None:
        loaded = self._checkpoints.load()
        for name, why in loaded.rejected:
            self.say(f"beowulf: checkpoint {name} is damaged ({why}); trying the one before")
            record_event(self._files, "checkpoint_rejected", checkpoint=name, why=why)
        if loaded.checkpoint:
            self.say(f"beowulf: going on after step {loaded.checkpoint.step}")
            record_event(self._files, "resumed", step=loaded.checkpoint.step)
        elif self.attempt > 1:
            self.say("beowulf: there is no valid checkpoint; starting from the beginning")
        return loaded.checkpoint

    def _resume(self, schedule: Schedule) -> int:
        """Return the number of steps done before, once the checkpoint is known to fit."""
        start = 0
        if self._restored is not None:
            if self._restored.run != vars(schedule):
                raise CheckpointError(
                    f"the checkpoint was made with {self._restored.run}, "
                    f"this run has {vars(schedule)}; submit it as a new job"
                )
            start = self._restored.step
        if self._metrics is not None:
            self._loss = self._metrics.forget_after(start).get("loss")
        self._steps_done = start
        self._restored = None
        self._checkpoint_at = time.monotonic()
        return start

    def _end_step(self, batch: Batch, step_ns: int, total: int, schedule: Schedule) -> None:
        self._steps_done = batch.step
        self._samples_done += batch.samples
        self._training_s += step_ns / 1e9
        now = time.monotonic()
        if self._averaging.keeps_equal:
            check_identical(self._guide.group, self._tracked, batch.step, total)
        if self._metrics is not None:
            self._metrics.append(
                {
                    "step": batch.step,
                    "total_steps": total,
                    "epoch": batch.epoch,
                    "loss": self._loss,
                    "samples": batch.samples,
                    "step_s": step_ns // 100 / 1e7,  # whole tenths of a microsecond
                    "world_size": self.world_size,
                    "shares": batch.shares,
                    "compute_s": [round(seconds, 7) for seconds in self.compute_s],
                    "wire_s": self._timer.wire_s(self.compute_s, self._guide.lead),
                }
            )
            self._is_checkpoint_owed |= self._is_checkpoint_due(batch.step, total, now)
            if self._tracked and self._is_checkpoint_owed and self._averaging.is_settled:
                self._metrics.flush()
                self._checkpoints.save(
                    Checkpoint(batch.step, dict(vars(schedule)), pack(self._kept))
                )
                self._is_checkpoint_owed = False
                self._checkpoint_at = time.monotonic()
                self._pause_s *= 2
        self._look_after(now)

    def _is_checkpoint_due(self, step: int, total: int, now: float) -> bool:
        every_steps, every_s = self._checkpoint_every_steps, self._checkpoint_every_s
        return (
            step == total
            or (every_steps is not None and step % every_steps == 0)
            or (every_s is not None and now - self._checkpoint_at > min(every_s, self._pause_s))
        )

    def _finish(self) -> None:
        """Write the result once every rank has come this far. Collective."""
        hosts = self._comm.gather(MPI.Get_processor_name())
        self._comm.Barrier()
        if hosts is not None:
            result: dict[str, Any] = {}
            if self._steps_done:
                speed = self._samples_done / self._training_s if self._training_s else None
                result["final_loss"] = self._loss
                result["steps"] = self._steps_done
                result["samples_per_s"] = speed
                result |= self._planned
            result["world_size"] = self.world_size
            figures = figures_of(
                self._files.metrics, hosts, self.global_batch, self._gradient_bytes
            )
            if figures is not None:
                result[FIGURES] = figures.to_json()
            write_json(self._files.result, {**result, **self._reported})
        if JobDirectory.of_this_rank() is None:  # nobody else will tell
            for name, value in self._reported.items():
                self.say(f"{name}: {value}")

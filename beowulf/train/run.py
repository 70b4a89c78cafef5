"""A training run: what a script opens, takes batches from, averages with and saves to."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mpi4py import MPI

from beowulf.errors import RanksLost, TrainingError
from beowulf.job.directory import JobDirectory
from beowulf.job.survivors import may_write
from beowulf.train.batches import Batch, Schedule
from beowulf.train.dataset import load_once_per_node
from beowulf.train.everybody import Everybody
from beowulf.train.guide import Guide
from beowulf.train.ledger import Ledger
from beowulf.train.loop import Loop
from beowulf.train.opening import check_world_size, open_directory, weights_of
from beowulf.train.rescue import Rescue
from beowulf.train.saving import Saver
from beowulf.train.strategy import averaging_named
from beowulf.train.tracked import Tracked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from beowulf.train.gradients import Gradients
    from beowulf.train.options import Options

Data = TypeVar("Data")
# How long a run that ends by an error may take to finish a checkpoint that is being written.
LAST_WORDS_S = 2.0


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
            one second, and each later one after twice the time, until that is the best
            interval for what a checkpoint costs and how often something fails, or this.
            None for none but the last.
        checkpoint_every_steps: Steps between checkpoints, in addition. Such a one is of that
            very step, even where the one before is still being written, which is waited for.

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
        comm = MPI.COMM_WORLD.Dup()
        check_world_size(comm.size)
        everybody = self._everybody = Everybody(comm)
        self.global_batch = global_batch
        self.seed = seed
        weights = weights_of(shares, everybody.size)
        self.attempt = int(os.environ.get("BEOWULF_ATTEMPT", "1"))
        self._files = open_directory(comm)
        self._averaging = averaging_named(averaging, comm, overlap=overlap, say=self.say)
        self._guide = Guide(everybody, self._averaging, weights, is_balanced=shares is None)
        self._tracked = Tracked(everybody)
        self._ledger = Ledger(self._files, everybody.rank, self.attempt)
        self._saver = Saver(
            self._files,
            checkpoint_every_s,
            checkpoint_every_steps,
            attempt=self.attempt,
            say=self.say,
            may_write=lambda: may_write(self._files, self.attempt, everybody.losses),
        )
        rescue = Rescue(
            everybody,
            self._files,
            self.attempt,
            self._averaging,
            self._guide,
            self._tracked,
            self._ledger,
        )
        self._loop = Loop(
            everybody,
            self._files,
            self._averaging,
            self._guide,
            self._tracked,
            self._ledger,
            self._saver,
            rescue,
            self.say,
            micro_batch,
        )

    @property
    def rank(self) -> int:
        """This rank's place in ``comm``: its number, unless a lower one was lost."""
        return self._everybody.comm.rank

    @property
    def world_size(self) -> int:
        """How many ranks there are: those at the start, less those that were lost."""
        return self._everybody.comm.size

    @property
    def comm(self) -> MPI.Intracomm:
        """All ranks of the run, for what a script has to say to them itself.

        A script that asks for it before the loop or inside it keeps all ranks at work, lest
        one that rests be missing.

        Raises:
            TrainingError: Inside the loop, where somebody rests.
            RanksLost: Inside the loop, in a step that others may not do again.
        """
        self._loop.has_lent_comm = True
        if self._loop.rescue.is_undone:
            raise RanksLost("comm: ranks were lost while the script talked to them")
        if self._loop.has_left:
            self._loop.call_all(is_over=True)
        if self._guide.somebody_rests:
            raise TrainingError(
                "comm: a machine rests, so that it cannot take part; open the run with "
                "averaging=train.Auto(rest=False)"
            )
        return self._everybody.comm

    @property
    def weights(self) -> tuple[float, ...]:
        """Each rank's weight in the next batch."""
        return self._guide.weights

    @property
    def micro_batch(self) -> int | None:
        """The most samples that this rank takes in one go, None for any number."""
        return self._loop.micro_batch

    @micro_batch.setter
    def micro_batch(self, most: int | None) -> None:
        self._loop.micro_batch = most

    @property
    def compute_s(self) -> tuple[float, ...]:
        """How long each rank computed in the latest step, in seconds."""
        return self._loop.compute_s

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
        self._ledger.end_heartbeats()
        self.flush_metrics()
        if kind is None:
            self._loop.call_all(is_over=True)
        self._averaging.close(wait=kind is None)
        self._saver.wait(None if kind is None else LAST_WORDS_S)
        if kind is None:
            self._finish()

    def say(self, text: object) -> None:
        """Print on one rank alone: rank 0, or, while it rests, the first that does not.

        Without MPI's launcher, which passes it on, nothing is printed: the others say so soon.
        """
        if self._everybody.rank == self._guide.lead:
            with contextlib.suppress(OSError):
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
        return load_once_per_node(self._everybody.comm, load)

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
        if self._tracked.objects or self._loop.current is not None:
            raise TrainingError("track: call it once, before batches")
        load = functools.partial(self._saver.load, is_first_attempt=self.attempt <= 1)
        self._tracked.begin(objects, self._averaging, load)

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
        schedule = Schedule(samples, self.global_batch, self.seed)
        return self._loop.batches(schedule, epochs, steps)

    def average(self, gradients: Gradients, loss: Any = None) -> float:
        """Average gradients, in place, over the global batch, and return the mean loss.

        ``gradients`` (an array, a list or dict of arrays, or a PyTorch module) and
        ``loss`` are *sums* over this rank's samples: zeros for an empty share. Call it
        on every rank, once per step. Collective: a missing rank leaves the others
        waiting.

        Raises:
            TrainingError: It is called outside of ``batches``, or with what MPI cannot add.
        """
        return self._loop.average(gradients, loss)

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
            self._ledger.reported[name] = value.item() if hasattr(value, "item") else value

    def flush_metrics(self) -> None:
        """Write out the metrics of the steps so far, to read them from the file."""
        self._ledger.flush()

    def _finish(self) -> None:
        """Write the result once every rank has come this far. Collective."""
        everybody, loop = self._everybody, self._loop
        while True:
            try:
                everybody.comm.Barrier()
                break
            except MPI.Exception as error:
                loop.lose(error, is_in_step=False)
        if everybody.rank == everybody.first:
            self._ledger.write_result(
                loop.tally,
                everybody.hosts,
                self.global_batch,
                loop.gradient_bytes,
                len(everybody.lost),
            )
        if JobDirectory.of_this_rank() is None:  # nobody else will tell
            for name, value in self._ledger.reported.items():
                self.say(f"{name}: {value}")

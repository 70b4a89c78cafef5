"""When a run saves a checkpoint, and from which one it goes on.

Training stands still only while the state is copied; the copy is written behind its back.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from beowulf.durable import sync_file
from beowulf.job.events import read_events, record_event
from beowulf.job.failures import Disturbances, disturbances
from beowulf.train.background import Background
from beowulf.train.checkpoints import CheckpointStore, always
from beowulf.train.copies import Copies, outlines_of
from beowulf.train.interval import interval_s
from beowulf.train.toll import Toll

if TYPE_CHECKING:
    from collections.abc import Callable

    from beowulf.job.directory import JobDirectory
    from beowulf.train.checkpoints import Checkpoint

FIRST_CHECKPOINT_S = 1.0


class Saver:
    """The checkpoints of a run. Not collective: rank 0 loads, the leading rank saves.

    Args:
        files: The job's directory.
        every_s: The most seconds between checkpoints. The first is due after one second, and
            each later one after twice the time, until that is the best interval for what a
            checkpoint costs, or this. None for none but the last.
        every_steps: Steps between checkpoints, in addition.
        attempt: Which attempt of the job this is.
        say: Prints a line for people.
        may_write: Says whether this rank still belongs to the job. It is called in another
            thread than the training's, and must not call MPI.
    """

    def __init__(  # noqa: PLR0913 - each named at the call
        self,
        files: JobDirectory,
        every_s: float | None,
        every_steps: int | None,
        *,
        attempt: int = 1,
        say: Callable[[object], None] = print,
        may_write: Callable[[], bool] = always,
    ) -> None:
        self._files = files
        self._store = CheckpointStore(files.checkpoints, attempt=attempt)
        self._every_s = every_s
        self._every_steps = every_steps
        self._say = say
        self._may_write = may_write
        self._copies = Copies()
        self._writer = Background("checkpoint")
        self._toll = Toll()
        self._disturbances = Disturbances()
        self._saved_at = time.monotonic()
        self._is_owed = self._is_exact = False
        self._pause_s = FIRST_CHECKPOINT_S
        self._interval_s = math.inf
        self._step: int | None = None  # of the checkpoint that is being written
        self._newest: int | None = None  # when one could not be written
        self._failure: tuple[int, str] | None = None  # the first of those since one was written
        self._untold: dict[str, Any] | None = None  # an event that found no room on the disk

    def load(self, *, is_first_attempt: bool) -> Checkpoint | None:
        """Return the newest valid checkpoint, and tell of it and of damaged ones."""
        loaded = self._store.load()
        for name, why in loaded.rejected:
            self._say(f"beowulf: checkpoint {name} is damaged ({why}); trying the one before")
            record_event(self._files, "checkpoint_rejected", checkpoint=name, why=why)
        if loaded.checkpoint:
            self._say(f"beowulf: going on after step {loaded.checkpoint.step}")
            record_event(self._files, "resumed", step=loaded.checkpoint.step)
        elif not is_first_attempt:
            self._say("beowulf: there is no valid checkpoint; starting from the beginning")
        return loaded.checkpoint

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written, or memory for one made ready."""
        return self._writer.is_busy

    def begin(self) -> None:
        """Count the time until the next checkpoint from now."""
        self._saved_at = time.monotonic()
        self._toll.pause()

    def owes(self, step: int, total: int, now: float) -> bool:
        """Say whether a checkpoint is due after ``step``, or was and could not be made yet.

        ``now`` is the time by ``time.monotonic``. Ask after each step. While a checkpoint is
        being written, the next waits, unless it must be of this very step.

        Raises:
            Fenced: This rank was cut off when it wrote the checkpoint before.
        """
        is_writing = self.is_writing
        self._toll.see(now, is_writing=is_writing)
        if not is_writing:
            self._hear()
        every_steps = self._every_steps
        self._is_exact = step == total or (every_steps is not None and step % every_steps == 0)
        self._is_owed |= self._is_exact or self._is_time(now)
        return self._is_owed and (self._is_exact or not is_writing)

    def _is_time(self, now: float) -> bool:
        every_s = self._every_s
        return every_s is not None and now - self._saved_at > min(
            every_s, self._interval_s, self._pause_s
        )

    def save(self, checkpoint: Checkpoint, *, wait: bool = False) -> None:
        """Copy a checkpoint, and write it while training goes on, or with ``wait`` at once.

        If the disk is full, this is said, and the checkpoints that were there still are. The
        pause until the next one is twice as long. The first time, a checkpoint that need not
        be of this very step stays due instead, while memory for copies is made ready.

        Raises:
            Fenced: This rank was cut off.
        """
        self.wait()
        if not self._is_exact and not self._copies.have_room_for(checkpoint.state):
            outlines = outlines_of(checkpoint.state)
            self._writer.start(lambda: self._copies.make_room(outlines))
            return
        began = time.monotonic()
        copied = replace(checkpoint, state=self._copies.of(checkpoint.state))
        self._saved_at = time.monotonic()
        self._toll.begin(self._saved_at - began)
        self._is_owed = False
        self._pause_s *= 2
        self._step = checkpoint.step
        self._writer.start(functools.partial(self._write, copied))
        if wait:
            self._writer.wait()
            self._hear(is_last=True)

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when the checkpoint that is being written is there, or when the time is over.

        Raises:
            Fenced: This rank was cut off.
        """
        self._writer.wait(timeout_s)
        self._hear()

    def _write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, in the other thread, and read there what the next depends on.

        The metrics of the steps before it must be as lasting: they are not made again.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                sync_file(self._files.metrics)
            self._store.save(checkpoint, self._may_write)
        except OSError as error:
            self._newest = next(iter(self._files.checkpoint_steps()), None)
            if self._failure is None:
                self._untold = {"step": checkpoint.step, "why": _reason(error)}
            raise
        finally:
            self._tell()
        self._disturbances = disturbances(read_events(self._files), datetime.now(UTC))

    def _tell(self) -> None:
        """Add to the story that a checkpoint failed, as soon as there is room for that."""
        if self._untold is not None:
            with contextlib.suppress(OSError):
                record_event(self._files, "checkpoint_failed", **self._untold)
                self._untold = None

    def _hear(self, *, is_last: bool = False) -> None:
        """Take in what became of a checkpoint, if one was written since the last time."""
        heard = self._writer.hear()
        if heard is None:
            return
        (error,) = heard
        step, self._step = self._step, None
        if error is not None and not isinstance(error, OSError):
            raise error
        if step is None:  # memory was made ready
            return
        if error is not None:
            self._say_that_it_failed(step, error, is_last=is_last)
        else:
            self._say_that_it_works(step)
        self._interval_s = interval_s(self._toll.cost_s, self._disturbances.between_s)

    def _say_that_it_works(self, step: int) -> None:
        """Say so after it did not, and why: on a full disk the log may lack that it did not."""
        if self._failure is not None:
            since, why = self._failure
            self._say(
                f"beowulf: checkpoint after step {step} could be written, "
                f"as none could since step {since} ({why})"
            )
        self._failure = None

    def _say_that_it_failed(self, step: int, error: OSError, *, is_last: bool) -> None:
        """Say so the first time, and at the end, when nothing will be tried any more."""
        if self._failure is None or is_last:
            newest = self._newest
            there = (
                "there is none so far" if newest is None else f"the newest one is of step {newest}"
            )
            goes_on = "this was the last step" if is_last else "training goes on"
            self._say(
                f"beowulf: checkpoint after step {step} could not be written ({_reason(error)}); "
                f"{goes_on}, {there}"
            )
        self._failure = self._failure or (step, _reason(error))


def _reason(error: OSError) -> str:
    return error.strerror or str(error)

"""When a run saves a checkpoint, and from which one it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from beowulf.job.events import record_event
from beowulf.train.checkpoints import CheckpointStore

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
            each later one after twice the time, until this is reached. None for none but the last.
        every_steps: Steps between checkpoints, in addition.
    """

    def __init__(self, files: JobDirectory, every_s: float | None, every_steps: int | None) -> None:
        self._files = files
        self._store = CheckpointStore(files.checkpoints)
        self._every_s = every_s
        self._every_steps = every_steps
        self._saved_at = time.monotonic()
        self._is_owed = False
        self._pause_s = FIRST_CHECKPOINT_S

    def load(self, say: Callable[[object], None], *, is_first_attempt: bool) -> Checkpoint | None:
        """Return the newest valid checkpoint, and tell of it and of damaged ones."""
        loaded = self._store.load()
        for name, why in loaded.rejected:
            say(f"beowulf: checkpoint {name} is damaged ({why}); trying the one before")
            record_event(self._files, "checkpoint_rejected", checkpoint=name, why=why)
        if loaded.checkpoint:
            say(f"beowulf: going on after step {loaded.checkpoint.step}")
            record_event(self._files, "resumed", step=loaded.checkpoint.step)
        elif not is_first_attempt:
            say("beowulf: there is no valid checkpoint; starting from the beginning")
        return loaded.checkpoint

    def begin(self) -> None:
        """Count the time until the next checkpoint from now."""
        self._saved_at = time.monotonic()

    def owes(self, step: int, total: int, now: float) -> bool:
        """Say whether a checkpoint is due after ``step``, or was and could not be made yet.

        ``now`` is the time by ``time.monotonic``. Ask after each step.
        """
        self._is_owed |= self._is_due(step, total, now)
        return self._is_owed

    def _is_due(self, step: int, total: int, now: float) -> bool:
        every_steps, every_s = self._every_steps, self._every_s
        return (
            step == total
            or (every_steps is not None and step % every_steps == 0)
            or (every_s is not None and now - self._saved_at > min(every_s, self._pause_s))
        )

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; the pause until the next one is twice as long.

        Raises:
            OSError: The disk is full; the checkpoints that were there still are.
        """
        self._store.save(checkpoint)
        self._is_owed = False
        self.begin()
        self._pause_s *= 2

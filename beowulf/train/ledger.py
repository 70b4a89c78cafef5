"""What a run writes into its job's directory besides checkpoints."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from beowulf.durable import write_json
from beowulf.job.events import record_event
from beowulf.job.figures import KEY as FIGURES
from beowulf.job.heartbeat import Heartbeat
from beowulf.train.background import Background
from beowulf.train.figures import figures_of
from beowulf.train.metrics import MetricsWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from beowulf.job.directory import JobDirectory
    from beowulf.job.events import EventName
    from beowulf.train.tally import Tally

HEARTBEAT_EVERY_S = 1.0


class Ledger:
    """One rank's pen. Each rank writes heartbeats, the leading one metrics and the story too.

    Rank 0 writes metrics to begin with and the result at the end. A rank that ends must
    ``end_heartbeats`` before anybody else writes of it. Not collective.

    Attributes:
        reported: What the script adds to the result, by name.
    """

    def __init__(self, files: JobDirectory, rank: int, attempt: int) -> None:
        self.reported: dict[str, Any] = {}
        self._files = files
        self._rank = rank
        self._attempt = attempt
        self._metrics = MetricsWriter(files.metrics) if rank == 0 else None
        self._heartbeat_at = 0.0
        self._heartbeats = Background("heartbeat")

    @property
    def has_metrics(self) -> bool:
        """Whether it is this rank that writes the metrics."""
        return self._metrics is not None

    def take_over(self) -> None:
        """Write the metrics from now on, as the rank that leads."""
        if self._metrics is None:
            self._metrics = MetricsWriter(self._files.metrics)

    def give_back(self) -> None:
        """Leave the metrics to the first rank again; what waits must be flushed before."""
        if self._metrics is not None:
            self._metrics.close()
        self._metrics = None

    def go_on(self, step: int, lines: Iterable[dict[str, Any]]) -> None:
        """Write the metrics from now on, after ``step``, with those ``lines`` that are missing.

        The file is made anew: whoever wrote it before, and still has it open, writes into nothing.
        """
        self.take_over()
        self.flush()
        last = (self.forget_after(step) or {}).get("step", 0)
        for line in lines:
            if last < line["step"] <= step:
                self.add(line)
                last = line["step"]
        self.flush()

    def add(self, line: dict[str, Any]) -> None:
        """Add a step's line to the metrics, where they are written."""
        if self._metrics is not None:
            self._metrics.append(line)

    def flush(self) -> None:
        """Write out the metrics of the steps so far, where they are written."""
        if self._metrics is not None:
            self._metrics.flush()

    def forget_after(self, step: int) -> dict[str, Any] | None:
        """Drop the metrics after ``step``, and return the last line that is kept, {} for none.

        None on a rank that does not write them.
        """
        return None if self._metrics is None else self._metrics.forget_after(step)

    def tell_plan(self, story: dict[str, Any]) -> None:
        """Add a plan to the job's story, behind the metrics of the steps that led to it."""
        self.flush()
        self.tell("planned", **story)

    def tell(self, event: EventName, **details: object) -> None:
        """Add an event to the job's story, where there is room for it."""
        with contextlib.suppress(OSError):  # a disk that is full ends no training
            record_event(self._files, event, **details)

    def look_after(self, now: float, step: int) -> None:
        """Say about once a second, by ``time.monotonic``, that this rank is there.

        Training does not wait for that: the server of the files may be slow, or away.
        """
        if now - self._heartbeat_at > HEARTBEAT_EVERY_S and not self._heartbeats.is_busy:
            self._heartbeat_at = now
            heartbeat = Heartbeat(self._rank, self._attempt, step=step)
            self._heard_of_heartbeat()
            self._heartbeats.start(lambda: self._write(heartbeat))

    def end_heartbeats(self) -> None:
        """Write no more of them, and return when the last is written."""
        self._heartbeat_at = math.inf
        self._heartbeats.wait()
        self._heard_of_heartbeat()

    def _write(self, heartbeat: Heartbeat) -> None:
        if self._files.heartbeats.is_dir():
            with contextlib.suppress(OSError):  # a disk that is full ends no training
                heartbeat.write(self._files)

    def _heard_of_heartbeat(self) -> None:
        heard = self._heartbeats.hear()
        if heard is not None and heard[0] is not None:
            raise heard[0]

    def write_result(
        self,
        tally: Tally,
        hosts: Sequence[str],
        global_batch: int,
        gradient_bytes: int,
        lost: int = 0,
    ) -> None:
        """Write the run's result; ``hosts`` has a name per rank, ``lost`` of which are gone."""
        result = {**tally.result(), "world_size": len(hosts) - lost}
        figures = figures_of(self._files.metrics, hosts, global_batch, gradient_bytes)
        if figures is not None:
            result[FIGURES] = figures.to_json()
        write_json(self._files.result, {**result, **self.reported})

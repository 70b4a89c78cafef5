"""Ways to train the same model on the same nodes, each as steps that can be taken in turn."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from mpi4py import MPI
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from bench.ranks.gloo import join_gloo
from bench.ranks.virtual import Model, Work, expected_after
from bench.ranks.wire import wait_for_all
from beowulf import train
from beowulf.train.shares import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from beowulf.train.options import Options

FOREVER = 1_000_000
EXACT = 1e-3  # how far a weight may be from where it should be, beside 1


class Way(Protocol):
    """A way to train. Made on every rank alike, and its steps taken together."""

    shares: tuple[int, ...]

    def step(self) -> None:
        """Take one training step. Collective."""

    def close(self) -> None:
        """Be done. Collective."""


class Task:
    """What all ways train: shapes, a batch, and how fast each node is."""

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], batch: int, speeds: Sequence[float]
    ) -> None:
        self.shapes = shapes
        self.batch = batch
        self.speeds = speeds
        self.products_per_sample = 0.0

    def model(self, comm: MPI.Intracomm) -> Model:
        """Return the model as this rank has it at the beginning."""
        work = Work(self.speeds[comm.rank], products_per_sample=self.products_per_sample)
        return Model(self.shapes, work)

    def shares(self, *, balanced: bool) -> tuple[int, ...]:
        """Return each rank's samples, by hand: equal, or as the nodes' speeds are."""
        weights = self.speeds if balanced else [1.0] * len(self.speeds)
        return tuple(split(self.batch, weights))


def slice_of(shares: Sequence[int], rank: int) -> np.ndarray:
    """Return which samples of a batch are this rank's."""
    first = sum(shares[:rank])
    return np.arange(first, first + shares[rank])


class Checked:
    """Counts steps, and holds the first weight to what it must be after them."""

    def __init__(self, model: Model, batch: int) -> None:
        self.model = model
        self.batch = batch
        self.first = float(model.weights[0].detach().reshape(-1)[0])
        self.steps = 0

    def check(self, name: str) -> None:
        """End everything if the training went wrong: nothing would have been compared."""
        found = float(self.model.weights[0].detach().reshape(-1)[0])
        wanted = expected_after(self.steps, self.first, self.batch)
        if abs(found - wanted) > EXACT:
            raise SystemExit(
                f"{name}: a weight is {found:.5f} after {self.steps} steps, and should be "
                f"{wanted:.5f}; nothing was compared"
            )


class Alone:
    """The fastest node alone does all of the batch; the others wait without computing."""

    def __init__(self, comm: MPI.Intracomm, task: Task) -> None:
        self.comm = comm
        self.rank = int(np.argmax(task.speeds))
        self.model = task.model(comm)
        self.samples = np.arange(task.batch)
        self.checked = Checked(self.model, task.batch)
        self.shares = tuple(
            task.batch if rank == self.rank else 0 for rank in range(len(task.speeds))
        )

    def step(self) -> None:
        """Take one step on one node."""
        if self.comm.rank == self.rank:
            self.model.work.take(self.samples, 1 / len(self.samples))
            _clear(self.model)
            self.model().backward()
            self.model.update()
            self.checked.steps += 1
        wait_for_all(self.comm)

    def close(self) -> None:
        """Check what was learned."""
        self.checked.check("alone")


class Naive:
    """What one writes first with mpi4py: an all-reduce per parameter, after the backward pass."""

    def __init__(self, comm: MPI.Intracomm, task: Task) -> None:
        self.comm = comm.Dup()
        self.shares = task.shares(balanced=False)
        self.samples = slice_of(self.shares, comm.rank)
        self.batch = task.batch
        self.model = task.model(comm)
        self.checked = Checked(self.model, task.batch)

    def step(self) -> None:
        """Take one step."""
        self.model.work.take(self.samples)
        _clear(self.model)
        self.model().backward()
        for weight in self.model.weights:
            assert weight.grad is not None  # noqa: S101 - for mypy: backward made it
            self.comm.Allreduce(MPI.IN_PLACE, weight.grad.numpy())
            weight.grad /= self.batch
        self.model.update()
        self.checked.steps += 1

    def close(self) -> None:
        """Check what was learned."""
        self.checked.check("naive")


class Ddp:
    """PyTorch's DistributedDataParallel over gloo, with equal shares or shares set by hand.

    It takes the mean over ranks. So that unequal shares count for what they are, each
    rank's loss is its sum times ranks / batch.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        task: Task,
        *,
        balanced: bool,
        hook: str = "",
        bucket_mb: float | None = None,
    ) -> None:
        join_gloo(comm, os.environ["BENCH_ADDRESSES"].split(",")[0], os.environ["BENCH_INTERFACE"])
        self.shares = task.shares(balanced=balanced)
        self.samples = slice_of(self.shares, comm.rank)
        self.scale = comm.size / task.batch
        self.model = task.model(comm)
        self.is_exact = hook == ""
        self.checked = Checked(self.model, task.batch)
        self.ddp = DistributedDataParallel(self.model, bucket_cap_mb=bucket_mb)
        if hook == "fp16":
            self.ddp.register_comm_hook(None, default_hooks.fp16_compress_hook)
        elif hook == "powersgd":
            state = powerSGD_hook.PowerSGDState(
                process_group=None, matrix_approximation_rank=4, start_powerSGD_iter=2
            )
            self.ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)

    def step(self) -> None:
        """Take one step."""
        self.model.work.take(self.samples, self.scale)
        self.ddp.zero_grad(set_to_none=True)
        self.ddp().backward()
        self.model.update()
        self.checked.steps += 1

    def close(self) -> None:
        """Check what was learned."""
        if self.is_exact:
            self.checked.check("DDP")


class Ours:
    """``beowulf.train`` as a script uses it."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        task: Task,
        *,
        averaging: str | Options,
        shares: str | None = None,
        exact: bool = False,
    ) -> None:
        # Each run keeps its metrics in a directory of its own, as each job does.
        path = comm.bcast(tempfile.mkdtemp(prefix="job-") if comm.rank == 0 else None)
        os.environ["BEOWULF_JOB_DIR"] = path
        self.run = train.Run(
            global_batch=task.batch, averaging=averaging, shares=shares, checkpoint_every_s=None
        )
        self.name = str(averaging)
        self.is_exact = exact
        self.shares: tuple[int, ...] = ()
        self.model = task.model(comm)
        if isinstance(averaging, train.DiLoCo):
            self.run.track(model=self.model)  # what it averages
        self.batch = task.batch
        self.checked = Checked(self.model, task.batch)
        self.steps = self._loop()
        Path(path, "heartbeat").mkdir(exist_ok=True)

    def _loop(self) -> Iterator[None]:
        for batch in self.run.batches(self.batch, steps=FOREVER):
            self.shares = tuple(batch.shares)
            _clear(self.model)
            for part in batch:
                self.model.work.take(part)
                self.model().backward()
            self.run.average(self.model)
            self.model.update()
            self.checked.steps += 1
            yield

    def step(self) -> None:
        """Take one step."""
        next(self.steps)

    def close(self) -> None:
        """Check what was learned, and end the run."""
        if self.is_exact:
            self.checked.check(self.name)
        self.run.__exit__(None, None, None)


def _clear(model: Model) -> None:
    for weight in model.weights:
        weight.grad = None


THEIRS = ("alone", "naive")


def way_named(name: str, comm: MPI.Intracomm, task: Task) -> Way:
    """Return a way to train. Collective.

    Raises:
        TrainingError: beowulf has no such strategy.
    """
    if name == "alone":
        return Alone(comm, task)
    if name == "naive":
        return Naive(comm, task)
    if name.startswith("DDP"):
        hook = {"fp16": "fp16", "PowerSGD": "powersgd"}.get(name.rpartition(", ")[2], "")
        return Ddp(
            comm,
            task,
            balanced="balanced" in name,
            hook=hook,
            bucket_mb=1.0 if "1 MB" in name else None,
        )
    if name.startswith("diloco"):
        return Ours(comm, task, averaging=train.DiLoCo(inner_steps=int(name.split()[1])))
    averaging, _, equal = name.partition(" ")
    return Ours(
        comm,
        task,
        averaging=averaging,
        shares="equal" if equal else None,
        exact=averaging in ("dense", "weighted"),
    )

"""Train apart for some steps, then take a common step towards the average.

Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", 2023,
arXiv:2311.08105; with one inner step, a rate of 1 and no momentum, it is plain averaging, and
with more inner steps, the local SGD of Stich, 2018, arXiv:1805.09767. Every rank trains with
its own part of each batch, by the mean over that part, and tells the others nothing. After
``inner_steps`` steps, how far all ranks have come, weighted by their samples, is taken as one
gradient, along which an outer step with Nesterov's momentum is made, by all from where all
have been. A faster rank has a larger part of each batch, so all are ready at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI

from beowulf.errors import TrainingError
from beowulf.train.averaging import Averaging, Naive, Step
from beowulf.train.buckets import lay_out
from beowulf.train.control import Told, hear, room, tell
from beowulf.train.parameters import chosen, parameters_in, statistics_in
from beowulf.train.parts import Parts
from beowulf.train.wires import AsTheyAre, Half

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from beowulf.train.options import DiLoCo
    from beowulf.train.parameters import Parameter

    Floats = NDArray[np.floating]


class OuterStep:
    """Averages arrays, and moves from where all have been towards the average.

    Args:
        parameters: The arrays, on every rank alike.
        rate: How far to go: 1 for to the average.
        momentum: How much of the steps before to add, as Nesterov does.
    """

    def __init__(self, parameters: Sequence[Parameter], rate: float, momentum: float) -> None:
        outlines = [(parameter.dtype, parameter.shape) for parameter in parameters]
        self._parameters = parameters
        self._rate = rate
        self._momentum = momentum
        self._moves, self._moved, _ = lay_out(outlines)
        self._origins, self._origin, _ = lay_out(outlines)
        self._velocities, self.velocity, _ = lay_out(outlines)

    def begin(self) -> None:
        """Note where all ranks are."""
        for parameter, origin in zip(self._parameters, self._origin, strict=True):
            origin[...] = parameter.read()

    def take(self, comm: MPI.Comm, parts: Parts, share: int, samples: int) -> None:
        """Take the step: this rank has come to where it is with ``share`` of the ``samples``.

        All ranks end with the same bits: all is done number by number. Collective: a missing
        rank leaves the others waiting.
        """
        every = zip(self._parameters, self._origin, self._moved, strict=True)
        for parameter, origin, moved in every:
            np.subtract(origin, parameter.read(), out=moved)
            np.multiply(moved, share, out=moved)
        buckets = zip(self._moves, self._origins, self._velocities, strict=True)
        for moves, origins, velocities in buckets:
            move, velocity = moves.flat, velocities.flat
            parts.add_up(comm, move)
            move /= samples
            velocity *= self._momentum
            velocity += move
            move += self._momentum * velocity
            move *= self._rate
            np.subtract(origins.flat, move, out=origins.flat)
        for parameter, origin in zip(self._parameters, self._origin, strict=True):
            parameter.write(origin)


class LocalSteps(Averaging):
    """The averaging. Between two outer steps, ranks hold parameters of their own."""

    keeps_equal = False  # optimizers' arrays, which may be tracked too, are each rank's own

    def __init__(
        self, comm: MPI.Intracomm, options: DiLoCo, say: Callable[[str], None] = print
    ) -> None:
        self.step = Step()
        self._rank, self._size = comm.rank, comm.size
        self._comm = comm
        self._alone = Naive(MPI.COMM_SELF)
        self._options = options
        self._say = say
        self._parts = Parts(Half() if options.fp16 else AsTheyAre())
        self._outer: tuple[OuterStep, ...] = ()
        self._has_begun = False
        self._forget()

    def _forget(self) -> None:
        self._steps = self._samples = self._share = 0
        self._loss = self._compute_s = 0.0

    def adopt(self, tracked: dict[str, Any]) -> dict[str, Any]:
        """Find the parameters in what is tracked; return what else checkpoints must hold.

        Raises:
            TrainingError: It is not clear which they are.
        """
        found = chosen(tracked, self._options.parameters)
        parameters = [p for value in found.values() for p in parameters_in(value)]
        if not parameters:
            raise TrainingError(
                "averaging: diloco found no floating-point parameters in what is tracked; track "
                "NumPy arrays or PyTorch modules"
            )
        statistics = [s for value in found.values() for s in statistics_in(value)]
        self._say(
            f"beowulf: each rank trains {', '.join(found)} by itself; every "
            f"{self._options.inner_steps} steps all average"
        )
        outer = OuterStep(parameters, self._options.rate, self._options.momentum)
        self._outer = (outer, OuterStep(statistics, rate=1.0, momentum=0.0))
        return {"beowulf.diloco": {"velocity": outer.velocity}}

    def begin(self, samples: int, share: int) -> None:
        """Begin an inner step.

        Raises:
            TrainingError: Nothing is tracked.
        """
        if not self._outer:
            self.adopt({})
        if not self._has_begun:
            self._has_begun = True
            for outer in self._outer:
                outer.begin()
        self.step = Step(samples, share)
        self._alone.begin(max(share, 1), share)
        self._steps += 1
        self._samples += samples
        self._share += share

    def gradients(self, shaped_as: Any) -> Any:
        """Return arrays of zeros. Not collective."""
        return self._alone.gradients(shaped_as)

    def ready(self, gradient: NDArray[np.floating]) -> None:
        """Do nothing: gradients stay here."""

    def average(self, gradients: Any, loss: float, compute_s: float) -> Told:
        """Divide by this rank's own samples, and tell its own loss alone. Not collective."""
        self._alone.average(gradients, loss, compute_s)
        self._loss += loss
        self._compute_s += compute_s
        share = self.step.share
        return Told(loss / share * self.step.samples if share else float("nan"), ())

    def end(self, *, is_last: bool) -> Told | None:
        """End a step; every so many, and after the last, take an outer step. Collective then.

        Returns the mean loss, and what each rank computed, over the steps since the one before,
        as if they were one step's; None if none was taken.
        """
        if not self._steps or (self._steps < self._options.inner_steps and not is_last):
            return None
        size = self._size
        vector = np.zeros(room(size))
        tell(vector, self._rank, size, self._loss, self._compute_s / self._steps)
        if size > 1:
            self._comm.Allreduce(MPI.IN_PLACE, vector)
        for outer in self._outer:
            outer.take(self._comm, self._parts, self._share, self._samples)
        told = hear(vector, size)
        mean = Told(told.loss_sum / self._samples * self.step.samples, told.compute_s)
        self._forget()
        return mean

    def carry_on(self, comm: MPI.Intracomm) -> None:
        """Take outer steps among those who are left, from where the latest one ended."""
        self._comm = comm
        self._has_begun = False
        self._forget()

    @property
    def is_settled(self) -> bool:
        """Whether the last step was an outer one: between two, every rank is somewhere else."""
        return self._steps == 0

    def close(self, *, wait: bool) -> None:
        """Do nothing."""

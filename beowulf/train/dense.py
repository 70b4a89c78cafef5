"""Average gradients in buckets that leave while the rest is still being computed.

Gradients are views into persistent flat buffers, so that nothing is gathered; the buffers
are added up in the order in which the backward pass completes them, by a thread that talks
to the other ranks meanwhile. How a buffer is added up is the exchange's business.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI

from beowulf.errors import TrainingError
from beowulf.limits.wire import early_bucket_bytes
from beowulf.train.arrays import BroughtArrays, OwnArrays
from beowulf.train.averaging import Averaging, Step, division_by
from beowulf.train.buckets import BUCKET_BYTES, bytes_of
from beowulf.train.control import Told, hear, room, tell
from beowulf.train.courier import Courier
from beowulf.train.gradients import checked, is_torch_module, like, listed, outline_of
from beowulf.train.overlap import Trial
from beowulf.train.shipment import Shipment
from beowulf.train.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from beowulf.train.buckets import Bucket, Outline
    from beowulf.train.exchange import Exchange
    from beowulf.train.torch_module import ModuleGradients

    Arrays = list[NDArray[np.floating]]


class Dense(Averaging):
    """Averages what one run brings, in buckets. On one rank nothing is exchanged.

    Args:
        comm: All ranks of the run.
        exchange: How a bucket is added up.
        overlap: Whether buckets may leave during the backward pass; None to try.
        say: Prints a line for people, on one rank.
        bucket_bytes: How large buckets are; None for what suits the gradients.
        exchange_among: Makes another such exchange for those who are left after a loss;
            None if one is like the other. Collective.

    Attributes:
        traffic: What the latest step sent, and what was found out about overlap.
    """

    keeps_equal = True

    def __init__(  # noqa: PLR0913 - each an option, named at the call
        self,
        comm: MPI.Intracomm,
        exchange: Exchange,
        *,
        overlap: bool | None = None,
        say: Callable[[str], None] = print,
        bucket_bytes: int | None = None,
        exchange_among: Callable[[MPI.Intracomm], Exchange] | None = None,
    ) -> None:
        self.step = Step()
        self.traffic = Traffic()
        self._bucket_bytes = bucket_bytes
        self._comm = comm
        self._wire = comm.Dup() if comm.size > 1 else comm
        self._exchange = exchange
        self._exchange_among = exchange_among
        self._given_up: list[Exchange] = []  # messages may be under way to where they have room
        self.say = say
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE or comm.size == 1:
            overlap = False
        self._overlap = self._asked_overlap = overlap
        self._trial = Trial()
        self._courier: Courier[tuple[Shipment, Bucket]] | None = None
        self._began_at = time.perf_counter()
        self._shipments: list[Shipment] = []  # those that may leave early
        self._buckets = 0
        self._own: list[OwnArrays] = []
        self._brought: BroughtArrays | None = None
        self._modules: dict[int, ModuleGradients] = {}

    @property
    def may_overlap(self) -> bool:
        """Whether buckets leave early, or may yet turn out to be better off so."""
        return self._overlap is not False

    def begin(self, samples: int, share: int) -> None:
        """Begin a step of so many samples, of which this rank has ``share``.

        Raises:
            TrainingError: Gradients left in the step before, which was never averaged.
        """
        self._refuse_early_ones("begun a step without averaging the one before")
        step = self.step
        step.samples, step.share, step.is_last_part = samples, share, False
        overlap = self._trial.overlaps if self._overlap is None else self._overlap
        step.overlaps = (
            overlap
            and self._wire.size > 1
            and len(self._shipments) == 1
            and self._shipments[0].can_split
        )
        if step.overlaps and self._courier is None:
            self._courier = Courier(self._carry)
        self.traffic.begin(overlaps=step.overlaps)
        self._exchange.begin(samples)
        self._began_at = time.perf_counter()

    def gradients(self, shaped_as: Any) -> Any:
        """Return arrays of zeros, shaped as those given, that are parts of buckets. Collective."""
        outlines = [outline_of(array) for array in listed(shaped_as)]
        own = OwnArrays(self.early_buckets(outlines))
        self._own.append(own)
        return like(shaped_as, own.arrays)

    def ready(self, gradient: NDArray[np.floating]) -> None:
        """Note that an array is complete, and let its bucket leave, if this is the last part.

        Raises:
            TrainingError: It is none of the arrays that ``gradients`` returned.
        """
        for own in self._own:
            if (index := own.index_of(gradient)) is not None:
                if self.step.is_last_part and own.seal(index) and self.step.overlaps:
                    own.shipment.ready(index, self.sender(own.shipment))
                return
        raise TrainingError(
            "ready: this is none of the arrays of run.gradients(...); give one of them as it is"
        )

    def average(self, gradients: Any, loss: float, compute_s: float) -> Told:
        """Average in place over all ranks. Collective: a missing rank leaves the others waiting."""
        found = listed(gradients)
        for own in self._own:
            if own.are(found):
                told = (
                    self.finish(own.shipment, loss, compute_s)
                    if self._comm.size > 1
                    else self._divide_alone(own.shipment, loss, compute_s)
                )
                own.unseal()
                return told
        if is_torch_module(gradients):
            return self._average_module(gradients, loss, compute_s)
        return self.average_brought(found, loss, compute_s)

    def close(self, *, wait: bool) -> None:
        """End the thread and take the hooks off; ``wait`` unless a rank may be missing."""
        for module in self._modules.values():
            module.close()
        if self._courier is not None:
            self._courier.close(wait=wait)
            self._courier = None

    def sender(self, shipment: Shipment) -> Callable[[Bucket], None]:
        """Return what sends a bucket of this shipment: by the thread in a step that overlaps."""
        courier = self._courier
        if courier is None or not self.step.overlaps:
            return lambda bucket: self._carry((shipment, bucket))
        if not shipment.left_early:
            self.traffic.is_ready()
        return lambda bucket: courier.send((shipment, bucket))

    def finish(
        self,
        shipment: Shipment,
        loss: float,
        compute_s: float,
        extra: NDArray[np.floating] | None = None,
    ) -> Told:
        """Send what has not left, wait for all of it, and hear what all ranks tell. Collective.

        ``extra`` is added up over all ranks, in place, along with what is told.
        """
        self._refuse_early_ones("averaged others", but=shipment)
        size, more = self._comm.size, 0 if extra is None else extra.size
        rides = shipment.behind.size > 0
        vector = shipment.behind if rides else np.zeros(room(size, more))
        behind = tell(vector, self._comm.rank, size, loss, compute_s)
        if extra is not None:
            behind[...] = extra
        early = shipment.left_early
        shipment.send_rest(self.sender(shipment))
        if self._courier is not None:
            self._courier.wait()
        if self._wire.size > 1 and not rides:
            self._wire.Allreduce(MPI.IN_PLACE, vector)
        if extra is not None:
            extra[...] = behind
        told = hear(vector, size)
        if self._overlap is None and self._wire.size > 1:
            self._try(time.perf_counter() - self._began_at, early)
        self.step.is_last_part = False
        return told

    def _divide_alone(self, shipment: Shipment, loss: float, compute_s: float) -> Told:
        divide, divisor = division_by(self.step.samples)
        for bucket in shipment.buckets:
            divide(bucket.flat, divisor, out=bucket.flat)
        self.step.is_last_part = False
        return Told(loss, (compute_s,))

    def _carry(self, parcel: tuple[Shipment, Bucket]) -> None:
        """Turn a bucket's sums into everybody's means."""
        shipment, bucket = parcel
        self._add_up(bucket)
        if shipment.divides:
            divide, divisor = division_by(self.step.samples)
            body = shipment.body(bucket)
            divide(body, divisor, out=body)

    def _add_up(self, bucket: Bucket) -> None:
        self.traffic.carries(bucket.flat.nbytes)
        if self._wire.size > 1:
            self._exchange(self._wire, bucket)

    def carry_on(self, comm: MPI.Intracomm) -> None:
        """Average among those who are left, whatever had left in the step that was interrupted.

        What was learned of the script's habits, and of overlap, is learned anew: one rank may
        have come further than another. Collective.
        """
        self.close(wait=False)
        self.among(comm.Dup())
        self._overlap, self._trial = self._asked_overlap, Trial()
        self._modules.clear()
        self._brought = None
        self._shipments = [own.shipment for own in self._own]
        for own in self._own:
            own.unseal()
            own.shipment.forget()
        self._buckets = sum(len(shipment.buckets) for shipment in self._shipments)
        self.step.overlaps = self.step.is_last_part = False
        if self._exchange_among is not None:
            self._given_up.append(self._exchange)
            self._exchange = self._exchange_among(self._wire)

    def among(self, wire: MPI.Intracomm) -> None:
        """Average among the ranks of another communicator from now on; the others do nothing.

        What ranks tell keeps its places, so that shares and times are still those of all.
        """
        self._wire = wire

    def early_buckets(self, outlines: Sequence[Outline], extra: int = 0) -> Shipment:
        """Make buckets for new gradients that may leave early. Collective."""
        self._refuse_early_ones("brought new ones")
        # What compresses a bucket gives other results for other buckets: the same then in any case.
        is_early = self.may_overlap or not self._exchange.is_exact
        usual = early_bucket_bytes(bytes_of(outlines)) if is_early else BUCKET_BYTES
        shipment = self.new_buckets(outlines, extra, usual)
        self._shipments.append(shipment)
        return shipment

    def new_buckets(
        self, outlines: Sequence[Outline], extra: int = 0, usual: int = BUCKET_BYTES
    ) -> Shipment:
        """Make buckets once all ranks agree on what goes into them. Collective."""
        size = self._comm.size
        self._agree(outlines)
        rides = self._exchange.is_exact and size > 1
        shipment = Shipment(
            outlines,
            room_behind=room(size, extra) if rides else 0,
            first_index=self._buckets,
            bucket_bytes=self._bucket_bytes or usual,
        )
        self._buckets += len(shipment.buckets)
        return shipment

    def _agree(self, outlines: Sequence[Outline]) -> None:
        said = [(dtype.name, shape) for dtype, shape in outlines]
        digests = self._wire.allgather(hashlib.sha256(repr(said).encode()).hexdigest())
        for rank, digest in enumerate(digests):
            if digest != digests[0]:
                raise TrainingError(
                    f"gradients: rank {rank} brings arrays of other types or shapes than rank 0; "
                    "every rank must bring the same, with zeros for an empty share"
                )

    def _refuse_early_ones(self, what: str, but: Shipment | None = None) -> None:
        for shipment in self._shipments:
            if shipment is not but and shipment.left_early:
                raise TrainingError(
                    f"average: the script has {what} while gradients were on their way to the "
                    "other ranks; average them first, or open the run with overlap=False"
                )

    def _average_module(self, module: Any, loss: float, compute_s: float) -> Told:
        from beowulf.train.torch_module import ModuleGradients, divide  # noqa: PLC0415 - an extra

        if self._comm.size == 1:
            divide(module, self.step.samples)
            return Told(loss, (compute_s,))
        known = self._modules.get(id(module))
        if known is None:
            known = self._modules[id(module)] = ModuleGradients(module, self)
        told = known.average(loss, compute_s)
        if not known.is_current():  # parameters were frozen or thawed, or changed their type
            known.average_newcomers(self.average_brought)
            known.close()
            self._shipments.remove(known.shipment)
            self._modules[id(module)] = ModuleGradients(module, self)
        return told

    def average_brought(self, arrays: Arrays, loss: float, compute_s: float) -> Told:
        """Average arrays that the script made itself. Collective."""
        divide, divisor = division_by(self.step.samples)
        if self._comm.size == 1:  # nothing to exchange, so nothing to gather either
            for array in checked(arrays):
                divide(array, divisor, out=array)
            return Told(loss, (compute_s,))
        brought = self._brought
        if brought is None or not brought.fit(arrays):
            brought = self._brought = BroughtArrays(checked(arrays), self.new_buckets)
            self._buckets += brought.large
        brought.gather(arrays)
        told = self.finish(brought.shipment, loss, compute_s)
        brought.exchange_large(arrays, self._add_up, divide, divisor)
        brought.scatter(arrays, divide, divisor)
        return told

    def _try(self, seconds: float, early: int) -> None:
        """Note a step of the trial; after the last one, decide with all ranks. Collective."""
        self._trial.note(seconds, early)
        if not self._trial.is_over:
            return
        sums = np.array([*self._trial.medians(), self._trial.early])
        self._wire.Allreduce(MPI.IN_PLACE, sums)
        with_s, without_s, left_early = (sums / self._wire.size).tolist()
        self._overlap = left_early > 0 and with_s <= without_s
        if left_early:
            self.traffic.tried = with_s, without_s
        if left_early > 0 and not self._overlap:
            self.say(
                "beowulf: gradients travel after the backward pass, not during it: a step takes "
                f"{with_s * 1e3:.3g} ms with overlap and {without_s * 1e3:.3g} ms without, for "
                "want of free cores"
            )
        if not self._overlap and self._courier is not None:
            self._courier.close(wait=True)
            self._courier = None

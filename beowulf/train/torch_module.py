"""The PyTorch adapter: a module's gradients lie in buckets, which leave during ``backward``.

A hook on each parameter runs when its gradient is added to
(``Tensor.register_post_accumulate_grad_hook``). It moves the gradient into its bucket, and in
a step's last micro-batch says that it is ready. What PyTorch is asked here is documented at
https://docs.pytorch.org/docs/stable/.
"""

from __future__ import annotations

import hashlib
import weakref
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from beowulf.errors import TrainingError
from beowulf.train.averaging import Step, division_by
from beowulf.train.torch_statistics import RunningStatistics
from beowulf.train.torch_tensors import (
    as_array,
    gradient_of,
    is_shared,
    outline_of,
    refuse_unsummable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from beowulf.train.buckets import Bucket, Outline
    from beowulf.train.control import Told
    from beowulf.train.shipment import Shipment

    Arrays = list[NDArray[np.floating]]

BATCH_NORM = (
    "beowulf: batch normalisation looks at one rank's micro-batch at a time, so this training "
    "depends on shares and on the number of ranks; group or layer normalisation does not. Its "
    "running statistics are averaged, weighted by samples"
)
LATE = (
    "gradients: that of a parameter of shape {shape} changed after it was sent to the other ranks "
    "({how}); open the run with overlap=False"
)


class Sending(Protocol):
    """What makes buckets for a module and sends them: ``beowulf.train.dense.Dense``."""

    step: Step
    say: Callable[[str], None]

    @property
    def may_overlap(self) -> bool:
        """Whether buckets may leave early at all."""

    def early_buckets(self, outlines: Sequence[Outline], extra: int) -> Shipment:
        """Make buckets."""

    def sender(self, shipment: Shipment) -> Callable[[Bucket], None]:
        """Return what sends one of them."""

    def finish(
        self,
        shipment: Shipment,
        loss: float,
        compute_s: float,
        extra: NDArray[np.floating] | None,
    ) -> Told:
        """Send the rest, and wait."""


class Slot:
    """One parameter and its place in a bucket; what its gradient did in this step."""

    def __init__(self, parameter: torch.nn.Parameter, tensor: torch.Tensor) -> None:
        self.parameter = parameter
        self.tensor = tensor  # shares memory with the bucket
        self.dtype = parameter.dtype
        self.is_view = is_shared(parameter) and parameter.dtype == tensor.dtype
        self.usual = 0  # how often its gradient is added to in a last micro-batch
        self.times = 0  # in this step
        self.is_ready = False
        self.seen: tuple[torch.Tensor, int] | None = None  # the gradient, and which version of it
        self.digest: bytes | None = None  # while the script's habits are learned

    def fits(self) -> bool:
        """Say whether the parameter is as it was when its place was made."""
        return self.parameter.requires_grad and self.parameter.dtype == self.dtype

    def moved(self, gradient: torch.Tensor) -> torch.Tensor:
        """Copy a gradient to its place; return what is the parameter's gradient from now on."""
        if gradient is self.tensor:
            return gradient
        self.tensor.copy_(gradient.detach())
        if not self.is_view or gradient.requires_grad:
            return gradient
        self.parameter.grad = self.tensor
        return self.tensor

    def give_back(self) -> None:
        """Let the parameter's gradient be what is in the bucket."""
        gradient = self.parameter.grad
        if gradient is None and self.is_view:
            self.parameter.grad = self.tensor
        elif gradient is not self.tensor:
            gradient_of(self.parameter).copy_(self.tensor)

    def has_changed(self) -> bool:
        """Say whether the gradient is another than when it was last added to."""
        if self.seen is None:
            return False
        gradient, version = self.seen
        if self.parameter.grad is not gradient or gradient._version != version:  # noqa: SLF001 - PyTorch tells in no other way
            return True
        return self.digest is not None and self.digest != self.digest_now()

    def digest_now(self) -> bytes:
        """Return a digest of what is in the bucket."""
        return hashlib.blake2b(self.tensor.numpy().reshape(-1).view("uint8").data).digest()


class ModuleGradients:
    """The gradients of one module in buckets. Made on every rank alike; collective."""

    def __init__(self, module: torch.nn.Module, dense: Sending) -> None:
        self._module = module
        self._dense = dense
        parameters = [p for p in module.parameters() if p.requires_grad]
        self._statistics = RunningStatistics(module)
        outlines = [outline_of(parameter) for parameter in parameters]
        self.shipment = dense.early_buckets(outlines, len(outlines) + self._statistics.size)
        places = self.shipment.places
        self._slots = [
            Slot(p, torch.from_numpy(place)) for p, place in zip(parameters, places, strict=True)
        ]
        self._may_overlap = True
        me = weakref.ref(self)  # the module must not keep its buckets alive
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(_hook(me, index))  # type: ignore[no-untyped-call]  # PyTorch lacks the type
            for index, parameter in enumerate(parameters)
        ]
        if self._statistics.size:
            dense.say(BATCH_NORM)

    def is_current(self) -> bool:
        """Say whether the module has the parameters that it had."""
        slots = self._slots
        now = [p for p in self._module.parameters() if p.requires_grad]
        return len(now) == len(slots) and all(
            parameter is slot.parameter and parameter.dtype == slot.dtype
            for parameter, slot in zip(now, slots, strict=True)
        )

    def average(self, loss: float, compute_s: float) -> Told:
        """Average all gradients, in place. Collective.

        A parameter without a gradient, as on a rank with an empty share, counts as zeros;
        one that has none on any rank stays without, so that optimizers pass it over.
        """
        with torch.no_grad():
            used = [self._settle(index, slot) for index, slot in enumerate(self._slots)]
            step = self._dense.step
            extra = np.concatenate([used, self._statistics.weighted(step.share)])
            told = self._dense.finish(self.shipment, loss, compute_s, extra)
            self._statistics.take(extra[len(used) :] / step.samples)
            for slot, ranks in zip(self._slots, extra[: len(used)].tolist(), strict=True):
                if ranks and slot.fits():
                    slot.give_back()
        return told

    def average_newcomers(self, average: Callable[[Arrays, float, float], Told]) -> None:
        """Average those gradients that have no place, because they were not here before."""
        known = {id(slot.parameter) for slot in self._slots if slot.fits()}
        gradients = [
            gradient_of(parameter)
            for parameter in self._module.parameters()
            if parameter.requires_grad and id(parameter) not in known
        ]
        arrays = [as_array(gradient) for gradient in gradients]
        average(arrays, 0.0, 0.0)
        with torch.no_grad():
            for gradient, array in zip(gradients, arrays, strict=True):
                if not is_shared(gradient):
                    gradient.copy_(torch.from_numpy(array))

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def computed(self, index: int) -> None:
        """Move a gradient that was just added to, and send it if it is complete."""
        slot = self._slots[index]
        gradient = slot.parameter.grad
        step = self._dense.step
        if gradient is None or gradient.layout != torch.strided or not slot.fits():
            return  # average will tell
        if self.shipment.is_gone(index):
            raise TrainingError(_late(slot, "backward was called once more"))
        if slot.is_view or step.is_last_part:
            with torch.no_grad():
                gradient = slot.moved(gradient)
        if not step.is_last_part or gradient.requires_grad:
            return
        slot.times += 1
        slot.seen = (gradient, gradient._version)  # noqa: SLF001 - the only way to notice a change
        if slot.usual == 0:
            slot.digest = slot.digest_now()
        elif slot.is_ready:  # and has not left: so it is not, after all
            slot.is_ready = False
            self.shipment.not_ready(index)
        elif slot.times == slot.usual and step.overlaps and self._may_overlap:
            slot.is_ready = True
            self.shipment.ready(index, self._dense.sender(self.shipment))

    def _settle(self, index: int, slot: Slot) -> bool:
        """Have a gradient in its place, unless it has left; say whether there is one."""
        gone, changed = self.shipment.is_gone(index), slot.has_changed()
        if gone and changed:
            raise TrainingError(_late(slot, "the script changed it before run.average"))
        if changed and self._may_overlap:
            self._may_overlap = False
            if self._dense.may_overlap:
                self._dense.say(
                    "beowulf: gradients travel after the backward pass, not during it, since the "
                    "script changes them before run.average"
                )
        gradient = slot.parameter.grad
        if not slot.fits() or gradient is None:
            slot.tensor.zero_()
        elif not gone and gradient is not slot.tensor:
            refuse_unsummable(slot.parameter)
            slot.tensor.copy_(gradient.detach())
        slot.usual = max(slot.usual, slot.times)
        slot.times, slot.is_ready, slot.seen, slot.digest = 0, False, None, None
        return gradient is not None and slot.fits()


def divide(module: torch.nn.Module, samples: int) -> None:
    """Divide a module's gradients by the number of samples: all there is to do on one rank."""
    operation, divisor = division_by(samples)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                refuse_unsummable(parameter)
            if parameter.requires_grad and (gradient := parameter.grad) is not None:
                array = as_array(gradient)
                operation(array, divisor, out=array)
                if not is_shared(gradient):
                    gradient.copy_(torch.from_numpy(array))


def _hook(gradients: weakref.ref[ModuleGradients], index: int) -> Callable[[torch.Tensor], None]:
    def computed(_parameter: torch.Tensor) -> None:
        if (mine := gradients()) is not None:
            mine.computed(index)

    return computed


def _late(slot: Slot, how: str) -> str:
    return LATE.format(shape=list(slot.parameter.shape), how=how)

"""Train the network of ``bench.ranks.accuracy`` with DDP: shares by hand, gradients in 16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mpi4py import MPI
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from bench.ranks.gloo import join_gloo
from beowulf.train.batches import Schedule
from beowulf.train.shares import parse_shares, part_of

if TYPE_CHECKING:
    import argparse

    import numpy as np
    from numpy.typing import NDArray

    from bench.ranks.accuracy import Floats, Network

EVERY_STEPS = 2  # the accuracy is looked at


class Module(torch.nn.Module):
    """The network as PyTorch sees it, with the very same memory."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterDict(
            {
                name: torch.nn.Parameter(torch.from_numpy(weight))
                for name, weight in network.weights.items()
            }
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        first = torch.relu(images @ self.weights["1"])
        scores: torch.Tensor = torch.relu(first @ self.weights["2"]) @ self.weights["3"]
        return scores


def train_by_ddp(
    network: Network,
    seed: int,
    options: argparse.Namespace,
    learned: tuple[Floats, NDArray[np.int64]],
    test: tuple[Floats, NDArray[np.int64]],
) -> list[tuple[int, float]]:
    """Train with the samples of each step, and return the accuracy after every few. Collective.

    DDP takes the mean over ranks: each rank's loss is its sum times ranks / batch.
    """
    comm = MPI.COMM_WORLD
    join_gloo(comm, "127.0.0.1", "lo")
    images, labels = learned
    module = Module(network)
    ddp = DistributedDataParallel(module)
    ddp.register_comm_hook(None, default_hooks.fp16_compress_hook)
    schedule = Schedule(len(labels), options.batch, seed)
    weights = parse_shares(options.shares)
    found = []
    total = options.epochs * schedule.steps_per_epoch
    for step, epoch, indices in schedule.global_batches(0, total):
        if step and step % EVERY_STEPS == 0:
            found.append((step, network.accuracy(*test)))
        part = indices[part_of(comm.rank, len(indices), weights)[1]]
        ddp.zero_grad(set_to_none=True)
        scores = ddp(torch.from_numpy(images[part]))
        loss = torch.nn.functional.cross_entropy(
            scores, torch.from_numpy(labels[part]), reduction="sum"
        )
        mine = loss * (comm.size / len(indices))
        mine.backward()  # type: ignore[no-untyped-call]  # PyTorch lacks it
        gradients = {}
        for name, parameter in module.weights.items():
            assert parameter.grad is not None  # noqa: S101 - for mypy: backward made it
            gradients[name] = parameter.grad.numpy()
        network.update(gradients, options.rate * (1 - epoch / options.epochs))
    found.append((total, network.accuracy(*test)))
    return found

"""Have PyTorch's ranks find each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # is documented there

if TYPE_CHECKING:
    from mpi4py import MPI


def join_gloo(comm: MPI.Intracomm, address: str, interface: str) -> None:
    """Start torch.distributed over gloo, once, by the first rank's address. Collective."""
    if dist.is_initialized():
        return
    os.environ["GLOO_SOCKET_IFNAME"] = interface
    store = None
    if comm.rank == 0:
        store = TCPStore(address, 0, comm.size, is_master=True, wait_for_workers=False)
    port = comm.bcast(store.port if store else 0)
    if store is None:
        store = TCPStore(address, port, comm.size, is_master=False)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=store, rank=comm.rank, world_size=comm.size)

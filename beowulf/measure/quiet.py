"""Wait for other ranks without taking the processor from those that are measured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mpi4py import MPI

Buffer: TypeAlias = NDArray[np.uint8]
LOOK_S = 0.005


def wait_for_all(comm: MPI.Intracomm) -> None:
    """Return once every rank is here. Collective: a missing rank leaves the others waiting.

    MPI's own barrier asks without a pause, which costs a computer of one core its only one.
    """
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(LOOK_S)

"""Prove now and then that all ranks hold the same parameters, to the bit.

Ranks that do the same with the same numbers stay equal; one that does not (bad memory,
a random number of its own, an array that was tracked but is its own) trains something
else without anybody's noticing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from beowulf.errors import TrainingError
from beowulf.train.parameters import leaves_in

if TYPE_CHECKING:
    from mpi4py import MPI
    from numpy.typing import NDArray

EVERY_STEPS = 100
BLOCK = 1024  # words of eight bytes
# The powers of an odd number are odd, so that no change of a single word can be lost.
KEYS = np.multiply.accumulate(np.full(BLOCK, 0x9E3779B97F4A7C15, np.uint64))


def check_identical(
    comm: MPI.Intracomm, tracked: dict[str, Any], step: int, last: int, every: int = EVERY_STEPS
) -> None:
    """Compare parameters over all ranks after the first, each hundredth and the last step.

    Parameters are the tracked NumPy arrays and tensors and the parameters of PyTorch modules,
    not what optimizers and random generators hold. Collective: a missing rank leaves
    the others waiting.

    Raises:
        TrainingError: A rank holds others than rank 0; raised on every rank.
    """
    if comm.size == 1 or not (step in (1, last) or step % every == 0):
        return
    digests = comm.allgather(digest_of(tracked))
    others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
    if others:
        who = f"rank {others[0]} holds" if len(others) == 1 else f"ranks {', '.join(others)} hold"
        raise TrainingError(
            f"track: after step {step} {who} other parameters than rank 0; change what is tracked "
            "by the same numbers on every rank, as run.average gives them"
        )


def digest_of(tracked: Any) -> bytes:
    """Return a digest of all parameters in ``tracked``, 16 bytes.

    Each block is first made one word, a sum of products modulo 2^64 (Carter and Wegman, 1979):
    that runs at the speed of memory, where a digest of every byte makes small steps slow.
    """
    digest = hashlib.blake2b(digest_size=16)
    for leaf in leaves_in(tracked):
        flat = np.ascontiguousarray(_bytes_of(leaf)).reshape(-1).view(np.uint8)
        whole = flat.size - flat.size % KEYS.nbytes
        digest.update((flat[:whole].view(np.uint64).reshape(-1, BLOCK) @ KEYS).data)
        digest.update(flat[whole:].data)
    return digest.digest()


def _bytes_of(leaf: Any) -> NDArray[Any]:
    """Return what a digest reads of an array, or of a tensor of whatever type."""
    if isinstance(leaf, np.ndarray):
        return leaf
    import torch  # noqa: PLC0415 - optional extra; the script that has a tensor has it

    found: NDArray[Any] = leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return found

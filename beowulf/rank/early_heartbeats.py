"""Survive MPI's own heartbeats that come too early: a fault of Open MPI's, mended from outside.

With ``--with-ft ulfm`` and ``mpi_ft_detector_thread``, a rank sends its first heartbeat in the
middle of MPI_Init (``ompi_comm_failure_detector_init`` starts the thread, and the thread sends at
once), though its neighbour may not be as far: there the message's kind (``MCA_BTL_TAG_FT_RBCAST``)
has no function yet, and calling none is a segmentation fault. Seen in 3 to 8 of 100 starts of six
ranks on two cores. So a function that does nothing is put there before MPI begins, which MPI
replaces by its own. Nothing is lost: a heartbeat may be missed.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os

DETECTOR_THREAD = "OMPI_MCA_mpi_ft_detector_thread"  # set by Open MPI's launcher
# Of opal/mca/btl/btl.h in Open MPI 5.0, the table's size and the tag.
TABLE = "mca_btl_base_active_message_trigger"
KINDS = 255
HEARTBEAT = 0x30


class _Receiver(ctypes.Structure):
    _fields_ = (("function", ctypes.c_void_p), ("data", ctypes.c_void_p))


def is_watched() -> bool:
    """Say whether MPI watches, in a thread of its own, for ranks that are lost."""
    return os.environ.get(DETECTOR_THREAD, "").lower() in ("true", "1")


def bear_early_heartbeats() -> None:
    """Let heartbeats be ignored that come before this process's MPI is ready for them.

    Without mpi4py, or with another MPI than Open MPI, nothing is done.
    """
    with contextlib.suppress(ImportError, OSError, RuntimeError, ValueError):
        found = importlib.util.find_spec("mpi4py.MPI")
        if found is None or found.origin is None:
            return
        mpi = ctypes.CDLL(found.origin)  # and with it all that it is linked to
        receivers = (_Receiver * KINDS).in_dll(mpi, TABLE)
        if not receivers[HEARTBEAT].function:
            nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)  # it ignores arguments
            receivers[HEARTBEAT].function = nothing.value

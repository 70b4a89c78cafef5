"""The thread that talks to the other ranks while the script computes."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Parcel = TypeVar("Parcel")


class Courier(Generic[Parcel]):
    """Carries parcels, one after the other, in a thread of its own.

    Open MPI makes progress only inside of calls, so that a non-blocking collective would
    wait until the script calls MPI again. A thread that blocks in a collective does
    progress, since MPI lets other threads have the interpreter meanwhile.

    An error in the thread is kept and raised by ``wait``, in the script's thread; nothing is
    carried any more then. The thread never keeps a process from ending.
    """

    def __init__(self, carry: Callable[[Parcel], None]) -> None:
        self._carry = carry
        self._waiting: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._under_way = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="beowulf-courier", daemon=True)
        self._thread.start()

    def send(self, parcel: Parcel) -> None:
        """Have a parcel carried after those before it; returns at once."""
        self._under_way += 1
        self._waiting.put(parcel)

    def wait(self) -> None:
        """Wait until everything is carried.

        Raises:
            BaseException: What ``carry`` raised, in the other thread.
        """
        while self._under_way:
            error = self._done.get()
            self._under_way -= 1
            self._error = self._error or error
        if self._error is not None:
            raise self._error

    def close(self, *, wait: bool) -> None:
        """End the thread when it is idle; ``wait`` for that only if no rank can be missing."""
        self._waiting.put(None)
        if wait:
            self._thread.join()

    def _work(self) -> None:
        failed: BaseException | None = None
        while True:
            parcel = self._waiting.get()
            if parcel is None:
                return
            if failed is None:
                try:
                    self._carry(parcel)
                except BaseException as error:  # noqa: BLE001 - raised again where the script waits
                    failed = error
            self._done.put(failed)

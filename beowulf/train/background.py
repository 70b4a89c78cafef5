"""One thing at a time, done while training goes on."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """A thread for one thing at a time. A program that ends by an error need not wait for it.

    Nothing done in it may call MPI, which belongs to the threads of the training. The thread
    stays: to start one is to wait until it runs, which takes some milliseconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._has_thread = False
        self._acts: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._is_heard = True
        self._is_done = threading.Event()
        self._is_done.set()
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being done now."""
        return not self._is_done.is_set()

    def start(self, act: Callable[[], None]) -> None:
        """Begin to do something, once what was begun before is done and was heard of."""
        if not self._is_heard:
            raise RuntimeError(f"{self._name}: what was begun before was not heard of")
        self._is_heard = False
        self._is_done.clear()
        if not self._has_thread:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
            self._has_thread = True
        self._acts.put(act)

    def _serve(self) -> None:
        while True:
            try:
                self._acts.get()()
            except BaseException as error:  # noqa: BLE001 - for whoever hears of it
                self._error = error
            self._is_done.set()

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when nothing is being done any more, or when the time is over."""
        self._is_done.wait(timeout_s)

    def hear(self) -> tuple[BaseException | None] | None:
        """Return once what became of it, its error or None; None if there is nothing to hear."""
        if self._is_heard or self.is_busy:
            return None
        error, self._error, self._is_heard = self._error, None, True
        return (error,)

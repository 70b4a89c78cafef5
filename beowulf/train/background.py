"""One thing at a time, done while training goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """A thread for one thing at a time. A program that ends by an error need not wait for it.

    Nothing done in it may call MPI, which belongs to the threads of the training.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being done now."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, act: Callable[[], None]) -> None:
        """Begin to do something, once what was begun before is done and was heard of."""
        if self._thread is not None:
            raise RuntimeError(f"{self._name}: what was begun before was not heard of")
        self._thread = threading.Thread(target=self._do, args=(act,), name=self._name, daemon=True)
        self._thread.start()

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - for whoever hears of it
            self._error = error

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when nothing is being done any more, or when the time is over."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def hear(self) -> tuple[BaseException | None] | None:
        """Return once what became of it, its error or None; None if there is nothing to hear."""
        if self._thread is None or self._thread.is_alive():
            return None
        error, self._error, self._thread = self._error, None, None
        return (error,)

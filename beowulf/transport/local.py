"""Run commands on this computer."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

from beowulf.errors import CommandFailed, ConnectionLost, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MOST_WORDS = 300
PIECE_BYTES = 65_536
MOST_ERRORS_BYTES = 65_536
LOOK_S = 0.05
SIGNALLED = 128  # and the signal's number: how shells say it


@dataclass(frozen=True)
class Finished:
    """A command that has ended: what it was, its exit status, and what it printed."""

    arguments: tuple[str, ...]
    status: int
    output: str
    errors: str


def run(
    arguments: Sequence[str | Path],
    *,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    check: bool = True,
) -> Finished:
    """Run a command to its end and return what it printed.

    ``environment`` is added to this process's own. With ``check`` an exit status
    other than 0 is an error.

    Raises:
        CommandFailed: The program is not installed, failed, or took longer than
            ``timeout_s`` seconds; it has been ended then.
    """
    words = tuple(str(word) for word in arguments)
    try:
        process = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **environment} if environment else None,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise CommandFailed(f"{words[0]}: not installed on this computer") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{shown(words)}: no end after {timeout_s:g} s") from None
    finished = Finished(words, process.returncode, process.stdout, process.stderr)
    if check and finished.status != 0:
        raise CommandFailed(explanation(finished))
    return finished


def explanation(finished: Finished) -> str:
    """Return in one line which command failed, how, and its own last words."""
    said = (finished.errors.strip() or finished.output.strip()).splitlines()
    last = one_line(said[-1].strip()) if said else "it printed nothing"
    return f"{shown(finished.arguments)}: exit {finished.status}: {last[-MOST_WORDS:]}"


def shown(words: Sequence[str]) -> str:
    """Return a command as a person may read it, cut where it is long."""
    text = one_line(" ".join(words))
    return text if len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]}..."


def require_terminal() -> None:
    """Refuse to open a shell for a program.

    Raises:
        CommandFailed: Input or output is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailed("there is no terminal here, which a shell needs; run it in one")


class LocalConnection:
    """A way to run commands on this computer, as whoever this process is."""

    name = "this computer"

    def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: str = "",
        timeout_s: float = 60,
        check: bool = True,
    ) -> Finished:
        """Run a command to its end and return what it printed."""
        return run(arguments, stdin=stdin, timeout_s=timeout_s, check=check)

    def converse(self, arguments: Sequence[str]) -> LocalConversation:
        """Start a command and return it with its standard input and output open."""
        return LocalConversation(tuple(arguments))

    def shell(self, arguments: Sequence[str]) -> int:
        """Run a command, or the person's shell, on this person's terminal; return its status."""
        require_terminal()
        words = list(arguments) or [os.environ.get("SHELL", "/bin/sh")]
        try:
            status = subprocess.run(words, check=False).returncode
        except OSError as error:
            raise CommandFailed(f"{words[0]}: {error.strerror}") from None
        return status if status >= 0 else SIGNALLED - status

    def close(self) -> None:
        """Do nothing: there is no connection to end."""


class LocalConversation:
    """A command that runs on this computer, with its standard input and output open.

    Its output is read no faster than it is asked for; only while a ``send`` waits is it
    kept here, since both sides would wait else.
    """

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._arguments = arguments
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except FileNotFoundError:
            raise CommandFailed(f"{arguments[0]}: not installed on this computer") from None
        except OSError as error:
            raise CommandFailed(f"{arguments[0]}: {error.strerror}") from None
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101, PT018
        self._input: IO[bytes] = self._process.stdin
        self._output: IO[bytes] = self._process.stdout
        self._errors_pipe: IO[bytes] = self._process.stderr
        for pipe in (self._input, self._output, self._errors_pipe):
            os.set_blocking(pipe.fileno(), False)
        self._reader = threading.Lock()  # of the one who reads what it prints
        self._kept: deque[bytes] = deque()
        self._errors = bytearray()
        self._ended = False

    def send(self, data: bytes) -> None:
        """Write all of ``data`` to the command's standard input."""
        view = memoryview(data)
        while view:
            if self._reader.acquire(blocking=False):
                try:
                    if self._wait(sending=True, receiving=True, timeout_s=None):
                        self._kept.append(self._read())
                finally:
                    self._reader.release()
            else:  # another thread receives, so that the other side can go on
                self._wait_for_room()
            try:
                view = view[os.write(self._input.fileno(), view[:PIECE_BYTES]) :]
            except BlockingIOError:
                continue
            except (OSError, ValueError):
                raise self._gone("it took not all of its input") from None

    def _wait_for_room(self) -> None:
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(self._input, selectors.EVENT_WRITE)
            except ValueError:
                raise self._gone("it takes no more input") from None
            selector.select(LOOK_S)

    def end_input(self) -> None:
        """Close the command's standard input."""
        self._input.close()

    def receive(self, most: int = PIECE_BYTES, timeout_s: float | None = None) -> bytes:
        """Return what it printed since, at most ``most`` bytes; none means that it has ended."""
        with self._reader:
            return self._receive(most, timeout_s)

    def _receive(self, most: int, timeout_s: float | None) -> bytes:
        while self._kept:
            data = self._kept.popleft()
            if len(data) > most:
                self._kept.appendleft(data[most:])
            if data:
                return data[:most]
        if self._ended:
            return b""
        if not self._wait(sending=False, receiving=True, timeout_s=timeout_s):
            raise ConnectionLost(f"{self._arguments[0]}: no word after {timeout_s:g} s")
        return self._read(most)

    def _read(self, most: int = PIECE_BYTES) -> bytes:
        data = os.read(self._output.fileno(), most)
        self._ended = not data
        return data

    def _wait(self, *, sending: bool, receiving: bool, timeout_s: float | None) -> bool:
        """Wait until one can go on, keeping standard error; say whether there is output."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            if sending and not self._input.closed:
                selector.register(self._input, selectors.EVENT_WRITE)
            if receiving and not self._ended:
                selector.register(self._output, selectors.EVENT_READ)
            if not self._errors_pipe.closed:
                selector.register(self._errors_pipe, selectors.EVENT_READ)
            while selector.get_map():
                left = None if deadline is None else max(0, deadline - time.monotonic())
                ready = {key.fileobj for key, _ in selector.select(left)}
                if self._errors_pipe in ready and not self._keep_errors():
                    selector.unregister(self._errors_pipe)
                    self._errors_pipe.close()
                if self._output in ready:
                    return True
                if self._input in ready or not ready:
                    return False
        return False

    def _keep_errors(self) -> bool:
        """Keep the end of its standard error, and say whether more may come."""
        data = os.read(self._errors_pipe.fileno(), PIECE_BYTES)
        self._errors += data
        del self._errors[:-MOST_ERRORS_BYTES]
        return bool(data)

    def finish(self, timeout_s: float = 10) -> Finished:
        """Wait for its end and return its exit status, with the end of its standard error.

        What it printed and nobody received is lost.
        """
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None or not (self._ended and self._errors_pipe.closed):
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConnectionLost(f"{self._arguments[0]} has not ended after {timeout_s:g} s")
            if self._ended and self._errors_pipe.closed:
                time.sleep(min(left, LOOK_S))
            elif self._wait(sending=False, receiving=True, timeout_s=min(left, LOOK_S)):
                self._read()
        status, errors = self._process.returncode, self._errors.decode(errors="replace")
        return Finished(self._arguments, status, "", errors)

    def close(self) -> None:
        """Let go of it, whether it has ended or not. It may go on without a reader."""
        for pipe in (self._input, self._output, self._errors_pipe):
            pipe.close()
        self._process.poll()

    def _gone(self, what: str) -> ConnectionLost:
        return ConnectionLost(f"{self._arguments[0]} ended early: {what}")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

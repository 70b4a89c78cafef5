"""A connection for unit tests: it answers from a script, and is lost when told to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from beowulf.errors import CommandFailed, ConnectionLost
from beowulf.transport.local import Finished, explanation


@dataclass(frozen=True)
class Answer:
    """What a command prints and how it ends; ``lost_after`` bytes of it the way is gone."""

    output: bytes = b""
    status: int = 0
    errors: str = ""
    lost_after: int | None = None


@dataclass(frozen=True)
class Call:
    """A command that was run: its words, and what came to its standard input."""

    arguments: tuple[str, ...]
    input: bytes


Script = Sequence[Answer | Exception] | Callable[[Call], Answer | Exception]


@dataclass
class FakeConnection:
    """A connection whose answers are a list, one per command, or a function of each command.

    An exception among them is raised. The command number ``lost_at``, counted from 1,
    finds the connection gone; the next one finds it there again.
    """

    script: Script
    lost_at: int | None = None
    name: str = "ada@head"
    calls: list[Call] = field(default_factory=list)
    shells: list[tuple[str, ...]] = field(default_factory=list)
    closed: bool = False
    begun: int = 0

    def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: str = "",
        timeout_s: float = 60,  # noqa: ARG002 - it is answered at once
        check: bool = True,
    ) -> Finished:
        """Answer a command."""
        with self.converse(arguments) as talk:
            talk.send(stdin.encode())
            talk.end_input()
            output = b"".join(iter(talk.receive, b""))
            ended = talk.finish()
        finished = Finished(ended.arguments, ended.status, output.decode(), ended.errors)
        if check and finished.status != 0:
            raise CommandFailed(f"{self.name}: {explanation(finished)}")
        return finished

    def converse(self, arguments: Sequence[str]) -> FakeConversation:
        """Begin a command. It answers once its input has ended."""
        self.closed = False
        self.begun += 1
        if self.begun == self.lost_at:
            raise ConnectionLost(f"{self.name}: the connection is lost")
        return FakeConversation(self, tuple(arguments))

    def shell(self, arguments: Sequence[str]) -> int:
        """Note that a shell was wanted, and say that it ended well."""
        self.shells.append(tuple(arguments))
        return 0

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def answer(self, call: Call) -> Answer:
        """Return the script's answer to a command and remember the command."""
        self.calls.append(call)
        if callable(self.script):
            answer = self.script(call)
        elif len(self.calls) > len(self.script):
            raise AssertionError(f"the script has no answer to {call.arguments}")
        else:
            answer = self.script[len(self.calls) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeConversation:
    """A command of a ``FakeConnection``."""

    def __init__(self, connection: FakeConnection, arguments: tuple[str, ...]) -> None:
        self._connection = connection
        self._arguments = arguments
        self._input = bytearray()
        self._answer: Answer | None = None
        self._at = 0

    def send(self, data: bytes) -> None:
        """Keep what is sent."""
        self._input += data

    def end_input(self) -> None:
        """Have the script answer."""
        self._answered()

    def receive(self, most: int = 65_536, timeout_s: float | None = None) -> bytes:  # noqa: ARG002
        """Return the next piece of the answer."""
        answer = self._answered()
        end = len(answer.output)
        if answer.lost_after is not None:
            end = min(end, answer.lost_after)
            if self._at >= end:
                raise ConnectionLost(f"{self._connection.name}: the connection is lost")
        piece = answer.output[self._at : min(end, self._at + most)]
        self._at += len(piece)
        return piece

    def finish(self, timeout_s: float = 10) -> Finished:  # noqa: ARG002 - it has ended
        """Return how the script says that it ended."""
        answer = self._answered()
        if answer.lost_after is not None:
            raise ConnectionLost(f"{self._connection.name}: the connection is lost")
        return Finished(self._arguments, answer.status, "", answer.errors)

    def _answered(self) -> Answer:
        if self._answer is None:
            self._answer = self._connection.answer(Call(self._arguments, bytes(self._input)))
        return self._answer

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

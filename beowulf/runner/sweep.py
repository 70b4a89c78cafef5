"""A sweep: one job for each combination of the values that arguments may take."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput
from beowulf.runner import fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.runner.spec import JobSpec

ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
MOST_JOBS = 1000


@dataclass(frozen=True)
class Axis:
    """One argument and the values that it takes, one after the other."""

    argument: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One job of a sweep: its arguments with their values."""

    settings: tuple[tuple[str, str], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """What is added to the job's command."""
        return tuple(word for name, value in self.settings for word in (f"--{name}", value))

    def of(self, spec: JobSpec) -> JobSpec:
        """Return the job that tries these settings."""
        return replace(spec, command=(*spec.command, *self.words))


def trials(settings: Sequence[str]) -> list[Trial]:
    """Return every combination of settings such as ``lr=0.1,0.01``, the last one changing first.

    Raises:
        InvalidInput: One cannot be read, an argument comes twice, or there are too many jobs.
    """
    axes = [_axis(setting) for setting in settings]
    names = [axis.argument for axis in axes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(
            "--array", f"{twice} is given twice", f"write --array {twice}=VALUE,VALUE once"
        )
    found = list(
        itertools.islice(itertools.product(*(axis.values for axis in axes)), MOST_JOBS + 1)
    )
    if len(found) > MOST_JOBS:
        raise InvalidInput(
            "--array", f"that would be more than {MOST_JOBS} jobs", "submit it in parts"
        )
    return [Trial(tuple(zip(names, values, strict=True))) for values in found]


def _axis(setting: str) -> Axis:
    name, equals, values = fields.text("--array", setting).partition("=")
    name = name.removeprefix("--")
    if not equals or not ARGUMENT.fullmatch(name):
        raise InvalidInput(
            "--array",
            f"{fields.shortened(setting)} names no argument and its values",
            "write it as --array lr=0.1,0.01",
        )
    return Axis(name, tuple(values.split(",")))

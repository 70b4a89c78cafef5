"""One thing that was checked: good, wrong with a remedy, or not tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is good (None: not tried), in words, and what to do."""

    subject: str
    is_good: bool | None
    words: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the check's JSON."""
        return vars(self).copy()


def good(subject: str, words: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(subject, is_good=True, words=words)


def wrong(subject: str, words: str, remedy: str) -> Finding:
    """Return that something is wrong, with what to do."""
    return Finding(subject, is_good=False, words=words, remedy=remedy)


def untried(subject: str, words: str) -> Finding:
    """Return that something could not be looked at, which is no fault."""
    return Finding(subject, is_good=None, words=words)

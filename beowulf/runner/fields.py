"""Check single values from job files and flags, naming the field and the remedy."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from beowulf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
NODES = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
LONGEST_TIME_LIMIT_S = 365 * 24 * 3600
MOST_NODES = 4096


def refuse_unknown_keys(table: Mapping[str, Any], known: Iterable[str], prefix: str = "") -> None:
    """Raise InvalidInput for the first key that is not known, suggesting the nearest one."""
    names = list(known)
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(cut(key), names, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(names)}"
            raise InvalidInput(f"{prefix}{cut(key)}", "no such key", remedy)


def table(field: str, value: object) -> dict[str, Any]:
    """Return ``value`` if it is a table."""
    if not isinstance(value, dict):
        raise InvalidInput(field, f"must be a table, not {kind(value)}", f"write it as [{field}]")
    return value


def boolean(field: str, value: object) -> bool:
    """Return ``value`` if it is true or false."""
    if not isinstance(value, bool):
        raise InvalidInput(
            field, f"must be true or false, not {kind(value)}", f"try {field} = true"
        )
    return value


def integer(field: str, value: object, lowest: int, highest: int) -> int:
    """Return ``value`` if it is a whole number between the bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(
            field, f"must be a whole number, not {kind(value)}", f"try {field} = {lowest}"
        )
    if not lowest <= value <= highest:
        raise InvalidInput(
            field, f"{digits(value)} is out of range", f"give a number from {lowest} to {highest}"
        )
    return value


def text(field: str, value: object) -> str:
    """Return ``value`` if it is a string that an operating system can pass on."""
    if not isinstance(value, str):
        raise InvalidInput(field, f"must be a string, not {kind(value)}", 'put it in "quotes"')
    if "\0" in value:
        raise InvalidInput(field, "holds a NUL character", "take it out")
    return value


def words(field: str, value: object) -> tuple[str, ...]:
    """Return ``value`` as a tuple if it is a list of strings."""
    if not isinstance(value, list | tuple):
        raise InvalidInput(
            field,
            f"must be a list of words, not {kind(value)}",
            f'write each word by itself: {field} = ["first", "second"]',
        )
    return tuple(text(f"{field}[{i}]", word) for i, word in enumerate(value))


def name(field: str, value: object) -> str:
    """Return ``value`` if it can name a job."""
    word = text(field, value)
    if not NAME.fullmatch(word):
        raise InvalidInput(
            field,
            f"{shortened(word)} cannot name a job",
            "use up to 64 letters, digits, '.', '_' and '-', starting with a letter or digit",
        )
    return word


def name_from(path_stem: str) -> str:
    """Return the job name that a script's file name suggests."""
    allowed = re.sub(r"[^A-Za-z0-9._-]+", "-", path_stem).strip(".-_")
    return allowed[:64] or "job"


def duration_s(field: str, value: object) -> int:
    """Return the seconds in a duration such as "2h", "1h30m" or "45s"."""
    word = text(field, value)
    match = DURATION.fullmatch(word)
    if not match or not any(match.groups()):
        raise InvalidInput(
            field, f"{shortened(word)} is not a duration", 'write it as "2h", "1h30m" or "45s"'
        )
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not 1 <= total <= LONGEST_TIME_LIMIT_S:
        raise InvalidInput(field, f"{shortened(word)} is out of range", "give 1s to 365d")
    return total


def node_range(field: str, value: object) -> tuple[int, int]:
    """Return the fewest and the most nodes in "3" or "2-4"."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = digits(value)
    word = text(field, value)
    match = NODES.fullmatch(word)
    fewest = int(match[1]) if match else 0
    most = int(match[2] or match[1]) if match else 0
    if not 1 <= fewest <= most <= MOST_NODES:
        raise InvalidInput(
            field,
            f"{shortened(word)} is not a number of nodes",
            f'write it as "3" or "2-4", at most {MOST_NODES}',
        )
    return fewest, most


def environment(field: str, value: object) -> dict[str, str]:
    """Return ``value`` if it is a table of environment variables that a job may set."""
    variables = table(field, value)
    for key, setting in variables.items():
        where = f"{field}.{cut(key)}"
        if not VARIABLE.fullmatch(key):
            raise InvalidInput(
                where,
                "cannot be the name of an environment variable",
                "use letters, digits and '_', not starting with a digit",
            )
        if key.startswith("BEOWULF_"):
            raise InvalidInput(where, "is set by beowulf itself", "choose another name")
        _refuse_odd_bytes(where, text(where, setting))
    return variables


def _refuse_odd_bytes(field: str, setting: str) -> None:
    """Raise InvalidInput for bytes of the command line that a job file cannot hold."""
    try:
        setting.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            field, "holds bytes that are not UTF-8", "put them in a file, or encode them"
        ) from None


def shortened(word: str) -> str:
    """Return ``word`` quoted, cut where a person would stop reading."""
    return repr(cut(word))


def cut(word: str) -> str:
    """Return ``word``, cut where a person would stop reading."""
    return word if len(word) <= 60 else word[:57] + "..."


def digits(number: int) -> str:
    """Return a number as it was written, unless it is longer than anyone would read."""
    return str(number) if number.bit_length() <= 128 else "a number of more than 38 digits"


def kind(value: object) -> str:
    """Name the type of a TOML value in words."""
    names = {
        bool: "true or false", int: "a number", float: "a number with a fraction",
        str: "a string", list: "a list", dict: "a table",
    }  # fmt: skip
    return names.get(type(value), type(value).__name__)

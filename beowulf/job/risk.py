"""What a job would lose if the power failed now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beowulf.job.directory import ARRAYS, MANIFEST, checkpoint_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.job.directory import JobDirectory


def at_risk_s(directory: JobDirectory, lines: Sequence[dict[str, Any]]) -> float | None:
    """Return how many seconds of training are in no checkpoint; None if that is not known.

    ``lines`` are the newest metrics. Steps before them are taken to have been as long.
    """
    times: dict[int, float] = {
        line["step"]: line["step_s"]
        for line in lines
        if _is_number(line.get("step")) and _is_number(line.get("step_s"))
    }
    if not times:
        return None
    from statistics import median  # noqa: PLC0415 - slow to import, and few records need it

    saved = _newest_whole(directory)
    known = [seconds for step, seconds in times.items() if step > saved]
    unknown = max(0, min(times) - 1 - saved)
    return sum(known) + unknown * median(times.values())


def _newest_whole(directory: JobDirectory) -> int:
    """Return the step of the newest checkpoint that has all its files, 0 if there is none."""
    for step in directory.checkpoint_steps():
        place = directory.checkpoints / checkpoint_name(step)
        try:
            if all((place / name).stat().st_size for name in (ARRAYS, MANIFEST)):
                return step
        except OSError:
            continue
    return 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)

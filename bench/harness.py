"""Measure two ways side by side, sum up what was seen, and print it as Markdown.

Every figure is a comparison: the ways are measured in turn within one run, so that
a slow moment of the machine hits all of them, and each round gives one ratio or one
difference. What is reported is their median and spread, never one of them alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Summary:
    """The distribution of some measurements, all in one unit."""

    count: int
    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float

    def scaled(self, factor: float) -> Summary:
        """Return the same distribution in another unit."""
        return Summary(
            self.count,
            self.minimum * factor,
            self.lower_quartile * factor,
            self.median * factor,
            self.upper_quartile * factor,
            self.maximum * factor,
        )

    def cells(self, digits: int) -> list[str]:
        """Return the median, the quartiles and the extremes as three cells of a table."""
        return [
            f"{self.median:.{digits}f}",
            f"{self.lower_quartile:.{digits}f} to {self.upper_quartile:.{digits}f}",
            f"{self.minimum:.{digits}f} to {self.maximum:.{digits}f}",
        ]


def summarize(values: Sequence[float]) -> Summary:
    """Return the distribution of ``values``; quartiles lie between neighbours, as the median does.

    Raises:
        ValueError: There are none.
    """
    if not values:
        raise ValueError("values: there is nothing to sum up; measure at least one round")
    ordered = sorted(values)
    lower, median, upper = [ordered[0]] * 3
    if len(ordered) > 1:
        lower, median, upper = statistics.quantiles(ordered, n=4, method="inclusive")
    return Summary(len(ordered), ordered[0], lower, median, upper, ordered[-1])


def ratios(measured: Sequence[float], reference: Sequence[float]) -> Summary:
    """Sum up ``measured`` / ``reference``, round by round."""
    return summarize([one / other for one, other in zip(measured, reference, strict=True)])


def differences(measured: Sequence[float], reference: Sequence[float]) -> Summary:
    """Sum up ``measured`` - ``reference``, round by round."""
    return summarize([one - other for one, other in zip(measured, reference, strict=True)])


def alternate(
    ways: Mapping[str, Callable[[], float]], rounds: int, *, turns: int = 1, warm_up: int = 1
) -> dict[str, list[float]]:
    """Call the ways in turn and return, for each, one mean per round, in order.

    A round gives every way ``turns`` turns; who goes first changes from turn to turn.
    With many short turns, work that is put off from step to step (to write a file now
    and then) is in the mean, and a noisy moment still falls on every way. The first
    ``warm_up`` rounds fill the caches and are not kept.
    """
    means: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(warm_up + rounds):
        values: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(turns):
            first = (number + turn) % len(names)
            for name in names[first:] + names[:first]:
                values[name].append(ways[name]())
        if number >= warm_up:
            for name in names:
                means[name].append(statistics.fmean(values[name]))
    return means


@dataclass(frozen=True)
class Table:
    """Rows under headings, all of them text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return the table in Markdown, with its columns aligned for reading as it is."""
        widths = [
            max(len(row[index]) for row in (self.columns, *self.rows))
            for index in range(len(self.columns))
        ]
        rule = ["-" * width for width in widths]
        return "\n".join(
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            + " |"
            for row in (self.columns, rule, *self.rows)
        )  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What one benchmark found. ``figures`` holds the distributions behind the table."""

    name: str
    title: str
    table: Table
    verdict: str = ""
    figures: Mapping[str, Summary] = field(default_factory=dict)

    def markdown(self) -> str:
        """Return the report as a section of a Markdown page."""
        parts = [f"### {self.title}", self.table.markdown(), self.verdict]
        return "\n\n".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON document."""
        return {
            "schema": 1,
            "benchmark": self.name,
            "machine": this_machine(),
            "verdict": self.verdict,
            "figures": {name: asdict(summary) for name, summary in self.figures.items()},
        }


def verdict(what: str, found: float, target: float, unit: str) -> str:
    """Say whether a figure is within its target. A slow machine is news, not an error."""
    word = "within" if found <= target else "MISSES"
    return f"Target: {what} at most {target:g}{unit}. Found {found:.3g}{unit}: {word} the target."


def this_machine() -> str:
    """Describe this machine without naming it."""
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.system()
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {system}, "
        f"Python {platform.python_version()}; load average before: {os.getloadavg()[0]:.1f}"
    )


def parse_options(
    description: str | None, rounds: int, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Read what every benchmark understands: ``--rounds`` and ``--json``."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="how often to measure each way")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    return parser.parse_args(arguments)


def publish(report: Report, json_path: Path | None = None) -> None:
    """Print a report and, if asked, write its figures as JSON."""
    print(report.markdown(), flush=True)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(report.to_json(), indent=2) + "\n")


def run_alone(description: str | None, rounds: int, measure: Callable[[int], Report]) -> None:
    """Measure and print, as each benchmark does when it is run by itself."""
    options = parse_options(description, rounds)
    publish(measure(options.rounds), options.json)

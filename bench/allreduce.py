"""How much of the wire an all-reduce uses, as Open MPI does it and as our jobs do.

Needs root: ``python -m bench.allreduce``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import Report, Summary, Table, publish, summarize
from bench.launch import sandbox
from bench.network import network
from bench.worlds import run_world

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAUNCHES = 3  # of each way, in turn
ROUNDS = 3  # in each launch
NODES = (2, 3, 4)
RATES = ("100mbit", "1gbit")
SIZES = (1_000, 16_000, 64_000, 256_000, 1_000_000, 4_000_000, 25_000_000)
WAYS = {"Open MPI": False, "beowulf": True}
TARGET_PERCENT = 90.0
TARGET_FROM_BYTES = 1_000_000
TIMEOUT_S = 240


def ring_percent(nodes: int, size: int, tcp_bytes_per_s: float, seconds: float) -> float:
    """Return how much of what a ring could at most carry was carried, in per cent."""
    return 100 * 2 * (nodes - 1) / nodes * size / tcp_bytes_per_s / seconds


def percents(
    nodes: int, found: Mapping[str, object], sizes: Sequence[int]
) -> dict[int, list[float]]:
    """Return each round's percentage, by size, from what ``bench.ranks.wire`` found."""
    tcp, seconds = found["tcp_bytes_per_s"], found["seconds"]
    assert isinstance(tcp, list)  # noqa: S101 - for mypy
    assert isinstance(seconds, dict)  # noqa: S101 - for mypy
    speed = summarize(tcp).median
    return {
        size: [ring_percent(nodes, size, speed, one) for one in seconds[str(size)]]
        for size in sizes
    }


def measure_one(
    rate: str, nodes: int, sizes: Sequence[int], launches: int
) -> tuple[dict[tuple[str, int], list[float]], list[float]]:
    """Return the percentages by way and size, and raw TCP's speeds."""
    seen: dict[tuple[str, int], list[float]] = {(way, size): [] for way in WAYS for size in sizes}
    speeds: list[float] = []
    arguments = ["--sizes", *sizes, "--rounds", ROUNDS]
    with sandbox() as here, network([rate] * nodes, here.path) as wires:
        for launch in range(launches):
            for way in list(WAYS) if launch % 2 == 0 else list(WAYS)[::-1]:
                found = run_world(
                    here, wires, "wire", arguments, tuned=WAYS[way], timeout_s=TIMEOUT_S
                )
                speeds += found["tcp_bytes_per_s"]
                for size, values in percents(nodes, found, sizes).items():
                    seen[way, size] += values
    return seen, speeds


def measure(
    rates: Sequence[str] = RATES, sizes: Sequence[int] = SIZES, launches: int = LAUNCHES
) -> Report:
    """Compare both ways on 2, 3 and 4 nodes, at each rate, for each size."""
    figures: dict[str, Summary] = {}
    rows = []
    worst = 100.0
    for rate in rates:
        for nodes in NODES:
            print(f"  {nodes} nodes at {rate}", file=sys.stderr, flush=True)
            seen, speeds = measure_one(rate, nodes, sizes, launches)
            tcp = figures[f"{rate}, {nodes} nodes, TCP"] = summarize(speeds)
            for size in sizes:
                found = {way: summarize(seen[way, size]) for way in WAYS}
                for way, summary in found.items():
                    figures[f"{rate}, {nodes} nodes, {size} bytes, {way}"] = summary
                own = found["beowulf"]
                if size >= TARGET_FROM_BYTES:
                    worst = min(worst, own.median)
                rows.append([
                    rate, str(nodes), f"{tcp.median / 1e6:.1f}", f"{size / 1e3:,.0f}",
                    f"{found['Open MPI'].median:.0f}", *own.cells(0),
                ])  # fmt: skip
    word = "meets" if worst >= TARGET_PERCENT else "MISSES"
    return Report(
        name="allreduce",
        title="All-reduce, per cent of what a ring could carry at raw TCP's speed",
        table=Table(
            ["wire", "nodes", "TCP, MB/s", "kB", "Open MPI's own, %", "beowulf's, %", "quartiles",
             "range"],
            rows,
        ),
        verdict=f"Target: at least {TARGET_PERCENT:g} % from 1 MB on. "
        f"The lowest median is {worst:.1f} %: {word} the target.",
        figures=figures,
    )  # fmt: skip


def main() -> None:
    """Measure and print: about eight minutes, or two with ``--quick``."""
    parser = argparse.ArgumentParser(prog="python -m bench.allreduce", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, one launch each")
    parser.add_argument("--rates", nargs="+", default=RATES, metavar="RATE", help="as 100mbit")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    options = parser.parse_args()
    sizes = (16_000, 1_000_000, 4_000_000) if options.quick else SIZES
    publish(measure(options.rates, sizes, 1 if options.quick else LAUNCHES), options.json)


if __name__ == "__main__":
    main()

"""Run every benchmark and print one Markdown page: ``python -m bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import averaging, first_step, overhead, overlap, startup
from bench.harness import publish, this_machine

ALL = (startup, first_step, overhead, overlap, averaging)


def main() -> None:
    """Measure everything, one after the other; a few minutes."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a third of the rounds: enough to see that it works"
    )
    parser.add_argument("--json", type=Path, metavar="DIRECTORY", help="write the figures there")
    options = parser.parse_args()
    print(f"Measured on {this_machine()}.\n", flush=True)
    for benchmark in ALL:
        rounds = max(2, benchmark.ROUNDS // 3) if options.quick else benchmark.ROUNDS
        report = benchmark.measure(rounds)
        publish(report, options.json and options.json / f"{report.name}.json")
        print()


if __name__ == "__main__":
    main()

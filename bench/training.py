"""Training on mismatched nodes and slow wires: beowulf against DDP and others, side by side.

Needs root and PyTorch: ``python -m bench.training``; about 25 minutes, or 6 with ``--quick``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cases import AUTO, CASES, UNTUNED, Case
from bench.harness import summarize, this_machine
from bench.launch import sandbox
from bench.network import NoNetwork, network, refuse_where_impossible
from bench.quotas import quotas
from bench.training_report import page, put_into
from bench.worlds import WorldFailed, run_world

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "benchmarks.md"
RESULTS = REPOSITORY / "bench" / "results" / "training.json"


def run_case(case: Case) -> dict[str, Any]:
    """Return what was found in a case: seconds per step by way, raw TCP's speed, shares.

    What nobody tuned runs in a world of its own, with Open MPI's own settings; so does what
    lets nodes rest, which cannot be taken in turn with others.

    Raises:
        WorldFailed: A world ended badly.
    """
    with (
        sandbox() as here,
        network(case.rates, here.path) as wires,
        quotas(case.cores_per_node) as groups,
    ):
        words = case.words([way for way in case.ways if way != AUTO])
        if groups:
            words += ["--quotas", *groups, "--cores", case.cores]
        found: dict[str, Any] = run_world(
            here, wires, "training", words, tuned=True, timeout_s=case.timeout_s
        )
        if AUTO in case.ways:
            chosen = run_world(
                here, wires, "auto", case.words([AUTO]), tuned=True, timeout_s=case.timeout_s
            )
            for part in ("seconds", "shares"):
                found[part] |= chosen[part]
            found[AUTO] = chosen[AUTO]
        if case.untuned:
            plain = run_world(
                here, wires, "training", case.words([UNTUNED]), tuned=False,
                timeout_s=case.timeout_s,
            )  # fmt: skip
            for part in ("seconds", "shares"):
                found[part] |= plain[part]
    return found


def measure(cases: Sequence[Case], path: Path) -> dict[str, Any]:
    """Run the cases, one after the other, and keep what was found in a file as it comes."""
    document: dict[str, Any] = {"schema": 1, "benchmark": "training", "machine": this_machine()}
    document["cases"] = {}
    for number, case in enumerate(cases, start=1):
        print(f"[{number}/{len(cases)}] {case.name}", file=sys.stderr, flush=True)
        started_s = time.monotonic()
        try:
            found = run_case(case)
        except WorldFailed as failure:  # the others still say something
            print(f"    FAILED: {failure}", file=sys.stderr, flush=True)
            found = {"failed": str(failure)}
        document["cases"][case.name] = found
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_text(document))
        _tell(found, time.monotonic() - started_s)
    return document


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


def _tell(found: dict[str, Any], elapsed_s: float) -> None:
    for way, seconds in found.get("seconds", {}).items():
        print(f"    {way:28} {summarize(seconds).median:.3f} s", file=sys.stderr)
    print(f"    ({elapsed_s:.0f} s)", file=sys.stderr, flush=True)


def chosen(words: Sequence[str]) -> list[Case]:
    """Return the cases in whose names one of the words is; all if there are no words.

    Raises:
        ValueError: There are none.
    """
    found = [case for case in CASES if not words or any(word in case.name for word in words)]
    if not found:
        names = "; ".join(case.name for case in CASES)
        raise ValueError(f"--only: no case is called so; choose from: {names}")
    return found


def main() -> None:
    """Measure, and print a Markdown page."""
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps: to see that it works")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORDS", help="cases named so")
    parser.add_argument(
        "--json", type=Path, default=RESULTS, metavar="PATH",
        help="where the figures go; bench/results/training.json if left out",
    )  # fmt: skip
    parser.add_argument(
        "--from-json", action="store_true", help="measure nothing: report what is in that file"
    )
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    options = parser.parse_args()
    try:
        refuse_where_impossible(max(len(case.rates) for case in CASES))
        cases = chosen(options.only)
    except (NoNetwork, ValueError) as error:
        parser.error(str(error))
    if options.from_json:
        document = json.loads(options.json.read_text())
    else:
        hurried = [case.quick() for case in cases if case.is_quick or options.only]
        document = measure(hurried if options.quick else cases, options.json)
    text = page(document, "python -m bench.training" + (" --quick" if options.quick else ""))
    print(text)
    if options.write:
        from bench.pictures import draw  # noqa: PLC0415 - matplotlib is slow to import

        beside = PAGE.parent / "benchmarks"
        draw(document, beside)
        (beside / "training.json").write_text(_text(document))
        put_into(PAGE, text)


if __name__ == "__main__":
    main()

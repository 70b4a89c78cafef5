"""What the training benchmark found, as a Markdown section with tables, targets and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.cases import AUTO, CASES, UNTUNED, Case, limit_s, predicted
from bench.harness import Table, summarize
from bench.ranks.shapes import MODELS, bytes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BEGIN = "<!-- training: begin; written by python -m bench.training --write -->"
END = "<!-- training: end -->"
SETTLED_PERCENT = 5
PREDICTED_WITHIN = 0.1
UNCHANGED = ("alone", "dense equal", "dense", "weighted")  # among which auto may choose unasked
PICTURES = {
    "limit.png": "Per cent of the limit, by way",
    "halved.png": "Shares when a speed halves",
}


def page(document: Mapping[str, Any], command: str) -> str:
    """Return the whole section."""
    parts = [f"Measured on {document['machine']}, with `{command}`."]
    known = {case.name: case for case in CASES}
    for name, found in document["cases"].items():
        case = known.get(name)
        parts.append(f"#### {name}")
        if case is None or "failed" in found:
            parts.append(f"Failed: {str(found.get('failed', 'unknown case')).splitlines()[0]}")
        elif case.halves:
            parts.append(halved(case, found))
        else:
            parts.append(compared(case, found))
    targets = verdicts(document)
    if targets:
        parts += ["#### Targets", Table(["what", "at least", "found", ""], targets).markdown()]
    return "\n\n".join(parts)


def compared(case: Case, found: Mapping[str, Any]) -> str:
    """Return a case's table: time, per cent of the limit, factors, and what was predicted."""
    tcp = summarize(found["tcp_bytes_per_s"]).median
    size = bytes_of(MODELS[case.model])
    least_s = limit_s(case, tcp)
    medians = {way: summarize(seconds).median for way, seconds in found["seconds"].items()}
    rows = []
    for way in sorted(medians, key=lambda way: (way != UNTUNED, list(medians).index(way))):
        summary = summarize(found["seconds"][way]).scaled(1e3)
        told = predicted(case, way, tcp)
        told_s = (
            found[AUTO]["predicted_step_s"]
            if way == AUTO and AUTO in found
            else told and told.step_s
        )
        rows.append([
            way, *summary.cells(0)[:2], f"{100 * least_s / medians[way]:.0f}",
            _times(medians, "alone", way), _times(medians, "DDP equal", way),
            _times(medians, "DDP balanced", way), _times(medians, "DDP balanced, fp16", way),
            f"{told_s * 1e3:.0f}" if told_s else "", " : ".join(map(str, found["shares"][way])),
        ])  # fmt: skip
    table = Table(
        ["way", "ms per step", "quartiles", "% of limit", "x alone", "x DDP equal",
         "x DDP balanced", "x DDP fp16", "predicted, ms", "shares"],
        rows,
    )  # fmt: skip
    return (
        f"{size / 1e6:.1f} MB of gradients. Raw TCP carried {tcp / 1e6:.1f} MB/s, so that a step "
        f"with all of them takes at least {least_s * 1e3:.0f} ms.\n\n{table.markdown()}"
    )


def _times(medians: Mapping[str, float], reference: str, way: str) -> str:
    """Return how many times as fast as ``reference`` a way is."""
    return f"{medians[reference] / medians[way]:.2f}" if reference in medians else ""


def halved(case: Case, found: Mapping[str, Any]) -> str:
    """Say how soon the shares followed when the first node's speed halved."""
    at, steps = found["halved_at"], found["steps"]
    speeds = list(case.samples_per_s)
    speeds[0] /= 2
    best_s = sum(steps[0]["shares"]) / sum(speeds)
    needed = steps_until_settled([step["shares"] for step in steps[at:]], speeds)
    rows = [
        [str(index - at), " : ".join(map(str, steps[index]["shares"])),
         f"{1e3 * steps[index]['step_s']:.0f}"]
        for index in sorted({at - 1, at, at + 1, at + 2, at + 5, at + 10, at + 20, len(steps) - 1})
        if index < len(steps)
    ]  # fmt: skip
    said = "never" if needed is None else f"after {needed} steps"
    table = Table(["step after the change", "shares", "ms"], rows)
    return (
        f"Computing takes at least {best_s * 1e3:.0f} ms then. The shares came to stay within "
        f"{SETTLED_PERCENT} % of that {said}.\n\n{table.markdown()}"
    )


def steps_until_settled(
    shares: Sequence[Sequence[int]], speeds: Sequence[float], percent: float = SETTLED_PERCENT
) -> int | None:
    """Return after how many steps the compute time stays within ``percent`` of the best."""
    best_s = sum(shares[0]) / sum(speeds)
    good = [
        max(share / speed for share, speed in zip(one, speeds, strict=True))
        <= best_s * (1 + percent / 100)
        for one in shares
    ]
    if not good[-1]:
        return None
    return max((index + 1 for index, is_good in enumerate(good) if not is_good), default=0)


def verdicts(document: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each target that these cases say something about."""
    rows: list[list[str]] = []
    off: list[float] = []
    known = {case.name: case for case in CASES}
    for name, found in document["cases"].items():
        case = known.get(name)
        if case is None or "seconds" not in found:
            continue
        medians = {way: summarize(seconds).median for way, seconds in found["seconds"].items()}
        if name.startswith("4 : 2 : 1"):
            rows += _unequal(case, found, medians)
        elif {"weighted", "dense equal"} <= medians.keys():
            gain = medians["dense equal"] / medians["weighted"]
            rows.append(_target(f"{name}: weighted over dense", 1.7, gain, _weighing(case, found)))
        elif {"dense equal", "DDP equal"} <= medians.keys():
            rows.append(_target(f"{name}: dense over DDP", 0.98,
                                medians["DDP equal"] / medians["dense equal"]))  # fmt: skip
        fixed = [seconds for way, seconds in medians.items() if way in UNCHANGED]
        if "auto" in medians and fixed:
            own = min(fixed) / medians["auto"]
            rows.append(_target(f"{name}: auto over the best that changes nothing", 0.95, own))
        if AUTO in found:
            rows.append(_predicted(name, found[AUTO]))
        tcp = summarize(found["tcp_bytes_per_s"]).median
        foretold = ((predicted(case, way, tcp), seconds) for way, seconds in medians.items())
        off += [abs(told.step_s / seconds - 1) for told, seconds in foretold if told]
    if off:
        rows.append(_foretold("the limit model's prediction of any way", max(off)))
    return rows


def _unequal(case: Case, found: Mapping[str, Any], medians: Mapping[str, float]) -> list[list[str]]:
    """Return the targets of what changes nothing about the result, ``dense`` and ``auto``."""
    least_s = limit_s(case, summarize(found["tcp_bytes_per_s"]).median)
    rows = []
    for way in ("dense", "auto"):
        if way not in medians:
            continue
        own = medians[way]
        rows.append(_target(f"{case.name}: {way}, of the limit", 0.9, least_s / own))
        for other, least in (("DDP equal", 2.2), ("DDP balanced", 1.15)):
            if other in medians:
                what = f"{case.name}: {way} over {other}"
                possible = medians[other] / least_s
                rows.append(_target(what, least, medians[other] / own, possible))
    return rows


def _predicted(name: str, told: Mapping[str, Any]) -> list[str]:
    off = abs(told["predicted_step_s"] / told["step_s"] - 1)
    return _foretold(f"{name}: auto's prediction ({told['strategy']})", off)


def _foretold(what: str, off: float) -> list[str]:
    word = "met" if off <= PREDICTED_WITHIN else "MISSED"
    return [f"{what}, off by at most", "10 %", f"{100 * off:.0f} %", word]


def _weighing(case: Case, found: Mapping[str, Any]) -> float:
    """Return how much faster the weighted exchange could at best make a step."""
    tcp = summarize(found["tcp_bytes_per_s"]).median
    ring, weighted = (predicted(case, way, tcp) for way in ("dense equal", "weighted"))
    return ring.step_s / weighted.step_s if ring and weighted else float("inf")


def _target(what: str, least: float, found: float, possible: float = float("inf")) -> list[str]:
    """Return a target's row; ``possible`` is what no way that changes nothing could exceed."""
    word = "met" if found >= least else "MISSED"
    if found < least and possible < least:
        word += f": {possible:.2f} is the limit"
    return [what, f"{least:g}", f"{found:.2f}", word]


def put_into(path: Path, text: str) -> None:
    """Replace the section between the two marks of a page, with the pictures after the text.

    Raises:
        ValueError: The marks are not there.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path}: the marks of the section are missing: {BEGIN} and {END}")
    shown = [
        f"![{what}](benchmarks/{name})"
        for name, what in PICTURES.items()
        if (path.parent / "benchmarks" / name).exists()
    ]
    path.write_text(before + "\n\n".join([begin, text, *shown, end]) + after)

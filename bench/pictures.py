"""Draw what the training benchmark found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from bench.cases import CASES, UNTUNED, limit_s
from bench.harness import summarize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OURS, OTHERS = "#1b6ca8", "#b0b0b0"
THEIRS = (UNTUNED, "alone", "DDP")


def draw(document: Mapping[str, Any], directory: Path) -> None:
    """Write the pictures that these cases allow into a directory."""
    mpl.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    known = {case.name: case for case in CASES}
    bars, halved = {}, None
    for name, found in document["cases"].items():
        if name in known and known[name].halves and "steps" in found:
            halved = found
        elif name.startswith("4 : 2 : 1") and name in known and "seconds" in found:
            tcp = summarize(found["tcp_bytes_per_s"]).median
            least_s = limit_s(known[name], tcp)
            bars[name] = {
                way: 100 * least_s / summarize(seconds).median
                for way, seconds in found["seconds"].items()
            }
    if bars:
        draw_limits(bars, directory / "limit.png")
    if halved:
        draw_shares(halved, directory / "halved.png")


def draw_limits(bars: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw a row of bars per case: per cent of the limit by way."""
    figure, axes = plt.subplots(
        len(bars), 1, figsize=(8, 3.2 * len(bars)), squeeze=False, layout="constrained"
    )
    for axis, (name, percents) in zip(axes[:, 0], bars.items(), strict=True):
        ways = sorted(percents, key=lambda way: percents[way])
        colours = [OTHERS if way.startswith(THEIRS) else OURS for way in ways]
        axis.barh(ways, [percents[way] for way in ways], color=colours)
        axis.axvline(100, color="black", linewidth=0.8)
        axis.set_title(name)
        axis.set_xlabel("per cent of the limit with whole gradients")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def draw_shares(found: Mapping[str, Any], path: Path) -> None:
    """Draw each node's share, step by step, around the change."""
    figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
    shares = [step["shares"] for step in found["steps"]]
    for node in range(len(shares[0])):
        axis.step(range(len(shares)), [one[node] for one in shares], label=f"node{node}")
    axis.axvline(found["halved_at"], color="black", linewidth=0.8, linestyle="--")
    axis.set_xlabel("step")
    axis.set_ylabel("samples")
    axis.legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)

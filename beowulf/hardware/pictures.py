"""Draw what was measured and what is predicted, where matplotlib is installed."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from beowulf.hardware.speeds import MBIT, node_wires

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from beowulf.hardware.prediction import Cluster, Prediction
    from beowulf.job.measured import Measured

BLUE = "#08519c"
PALE = "#9ecae1"
MOST_NUMBERED = 16  # nodes; above that, numbers in the fields can't be read
HOW_TO_DRAW = "for a picture: pip install 'beowulf[jobs]'"


def can_draw() -> bool:
    """Say whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_measured(measured: Measured, path: Path) -> None:
    """Draw a bar per node, and a field per wire, into a PNG file. Needs matplotlib."""
    plt = _pyplot()
    names = [node.name for node in measured.nodes]
    wires = node_wires(measured)
    figure, all_axes = plt.subplots(
        1,
        3 if wires else 1,
        figsize=(15 if wires else 6, 1.5 + max(3.0, 0.35 * len(names))),
        layout="constrained",
    )
    axes = list(all_axes) if wires else [all_axes]
    axes[0].barh(names, [node.flops / 1e9 for node in measured.nodes], color=BLUE)
    axes[0].set(title="matrix product, float32", xlabel="10⁹ operations per second")
    axes[0].invert_yaxis()
    if wires:
        _draw_wires(axes[1], names, measured)
        _draw_links(figure, axes[2], names, measured)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_wires(axes: Any, names: list[str], measured: Measured) -> None:
    wires = node_wires(measured)
    places = range(len(names))
    for offset, label, colour in ((-0.2, "sends", BLUE), (0.2, "receives", PALE)):
        lengths = [getattr(wires[name], label) / MBIT for name in names]
        axes.barh(
            [place + offset for place in places], lengths, height=0.4, color=colour, label=label
        )
    axes.set_yticks(list(places), names)
    axes.set(title="each node's wire", xlabel="Mbit/s")
    axes.invert_yaxis()
    axes.legend(frameon=False)


def _draw_links(figure: Any, axes: Any, names: list[str], measured: Measured) -> None:
    from matplotlib.colors import LogNorm  # noqa: PLC0415 - slow to import

    speeds = {(wire.source, wire.target): wire.bytes_per_s / MBIT for wire in measured.wires}
    nothing = float("nan")
    rows = [[speeds.get((source, target), nothing) for target in names] for source in names]
    most = max(speeds.values())
    scale = LogNorm(vmin=min(*speeds.values(), most / 10), vmax=most)
    image = axes.imshow(rows, cmap="viridis", norm=scale)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set(title="from each node to each other", xlabel="to", ylabel="from")
    if len(names) <= MOST_NUMBERED:
        for (source, target), speed in speeds.items():
            place = names.index(target), names.index(source)
            pale = speed < most / 3
            axes.text(*place, f"{speed:,.0f}", ha="center", va="center", size="small",
                      color="white" if pale else "black")  # fmt: skip
    scale_axis = figure.colorbar(image, ax=axes, label="Mbit/s").ax.yaxis
    scale_axis.set_major_formatter("{x:,.0f}")
    scale_axis.set_minor_formatter("{x:,.0f}")


def draw_predictions(cluster: Cluster, predictions: Sequence[Prediction], path: Path) -> None:
    """Draw how samples per second grow with the nodes, a line per strategy. Needs matplotlib."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    counts = sorted({each.nodes for each in predictions})
    mark = "o" if len(counts) <= MOST_NUMBERED else ""
    for strategy in dict.fromkeys(each.strategy for each in predictions):
        speeds = [each.samples_per_s for each in predictions if each.strategy == strategy]
        axes.plot(counts, speeds, marker=mark, label=strategy)
    ideal = [sum(node.samples_per_s for node in cluster.taken(count)) for count in counts]
    axes.plot(counts, ideal, color="#636363", linestyle=":", label="if none waited")
    alone = max(node.samples_per_s for node in cluster.nodes)
    axes.axhline(alone, color="#636363", linestyle="--", label="the fastest alone")
    if counts[-1] > len(cluster.nodes):
        axes.axvspan(len(cluster.nodes), counts[-1], color="#636363", alpha=0.08, zorder=0,
                     label="nodes that are presumed")  # fmt: skip
    axes.set(title="predicted", xlabel="nodes", ylabel="samples per second")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _pyplot() -> Any:
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and not installed everywhere

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - slow to import

    return plt

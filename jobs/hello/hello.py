"""Say who is where: every rank introduces itself, and rank 0 draws the cluster they form.

Nothing is trained here. It is the job to start with on a new cluster: when its table
names the ranks and nodes you expect, MPI, the job directory and Python work on all of them.
"""

import os
import platform
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from mpi4py import MPI

from beowulf import train

# --- What a rank knows of itself ----------------------------------------------------------


def cpu_model() -> str:
    """Return the processor's name, as /proc/cpuinfo has it on a PC, or else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


# --- What is done with it -----------------------------------------------------------------


def table(rows: list[dict]) -> str:
    """Return the rows as aligned text under the names of their columns, numbers to the right."""
    lines = [[name.replace("_", " ") for name in rows[0]]]
    lines += [[str(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [isinstance(value, int) for value in rows[0].values()]
    aligned = [
        [
            word.rjust(width) if to_right else word.ljust(width)
            for word, width, to_right in zip(line, widths, right, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def draw(rows: list[dict], path: Path) -> None:
    """Draw each node as a box, its ranks as boxes in it, and their threads as squares in those."""
    nodes = {}
    for row in rows:
        nodes.setdefault(row["host"], []).append(row)
    most = max(len(ranks) for ranks in nodes.values())
    across = min(most, 4)  # ranks side by side in a node
    node_width, node_height = max(across * 1.55 + 0.15, 3.4), -(-most // across) * 1.3 + 0.7
    columns = max(1, min(len(nodes), int(14 // node_width)))
    lines = -(-len(nodes) // columns)
    width, height = columns * (node_width + 0.3) + 0.3, lines * (node_height + 0.3) + 0.8

    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # one unit is one inch, and y points down
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    plural = "s" if len(nodes) > 1 else ""
    title = f"{len(rows)} rank{'s' if len(rows) > 1 else ''} on {len(nodes)} node{plural}"
    axes.text(0.3, 0.45, title, size=15, weight="bold", va="center")

    def box(x, y, width, height, **style):
        shape = "round,pad=0,rounding_size=0.08"
        axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, **style))

    for index, (host, ranks) in enumerate(nodes.items()):
        x = 0.3 + index % columns * (node_width + 0.3)
        y = 0.8 + index // columns * (node_height + 0.3)
        box(x, y, node_width, node_height, facecolor="#f3f6fa", edgecolor="#4a5a6a", lw=1.5)
        small = {"size": 8, "color": "#4a5a6a", "va": "center"}
        cpu, most_letters = ranks[0]["cpu"], int(node_width * 15)  # so many fit in a line
        cpu = cpu if len(cpu) <= most_letters else f"{cpu[: most_letters - 1]}…"
        axes.text(x + 0.15, y + 0.22, host, size=11, weight="bold", va="center")
        axes.text(x + 0.15, y + 0.46, cpu, **small)
        for position, row in enumerate(ranks):
            left = x + 0.15 + position % across * 1.55
            top = y + 0.68 + position // across * 1.3
            box(left, top, 1.4, 1.15, facecolor="#c9ddf0", edgecolor="#2b6ca3", lw=1)
            axes.text(left + 0.1, top + 0.18, f"rank {row['rank']}", size=10, va="center")
            axes.text(left + 0.1, top + 0.39, f"process {row['process']}", **small)
            words = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
            axes.text(left + 0.1, top + 0.57, words, **small)
            for thread in range(min(row["threads"], 12)):  # more than two rows find no room
                corner = (left + 0.1 + thread % 6 * 0.2, top + 0.7 + thread // 6 * 0.2)
                axes.add_patch(Rectangle(corner, 0.15, 0.15, facecolor="#2b6ca3"))
    figure.savefig(path, dpi=120)


# --- The job ------------------------------------------------------------------------------

with train.Run(global_batch=1) as run:  # a run without batches: it knows the ranks and the files
    node = run.comm.Split_type(MPI.COMM_TYPE_SHARED)  # the ranks that share this node's memory
    myself = {
        "rank": run.rank,
        "host": platform.node(),
        "local_rank": node.rank,
        "threads": int(os.environ.get("OMP_NUM_THREADS") or cores()),
        "cores": cores(),
        "process": os.getpid(),
        "cpu": cpu_model(),
    }
    everybody = run.comm.gather(myself)  # a list in rank order on rank 0, None elsewhere
    if run.rank == 0:
        print(table(everybody), flush=True)
        run.report(nodes=len({row["host"] for row in everybody}))
        draw(everybody, run.directory / "ranks.png")

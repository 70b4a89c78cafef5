"""Train the same model in several ways, in turn, within one world of ranks."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

from bench.ranks.shapes import MODELS
from bench.ranks.virtual import seconds_per_product
from bench.ranks.ways import THEIRS, Ours, Task, Way, way_named
from bench.ranks.wire import (
    CHUNK_BYTES,
    FIRST_TCP_BYTES,
    TCP_S,
    connect_pair,
    tcp_bytes_per_s,
    wait_for_all,
)
from beowulf.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence


def seconds_per_step(comm: MPI.Intracomm, way: Way, steps: int) -> float:
    """Take some steps and return how long one takes. Collective."""
    wait_for_all(comm)
    started_s = time.perf_counter()
    for _ in range(steps):
        way.step()
    elapsed_s = (time.perf_counter() - started_s) / steps
    return float(comm.allreduce(elapsed_s, MPI.MAX))


def opened(comm: MPI.Intracomm, names: Sequence[str], task: Task) -> dict[str, Way]:
    """Return those ways that there are. Collective."""
    ways = {}
    for name in names:
        try:
            ways[name] = way_named(name, comm, task)
        except TrainingError as error:  # on all ranks alike
            if comm.rank == 0:
                print(f"left out: {name} ({error})", flush=True)
    return ways


def steps_before(name: str, options: argparse.Namespace) -> int:
    """Return how many steps a way takes before it counts: ours finds out what is best first.

    Shares are good after 8 steps, and 14 try overlap; ``auto`` plans after 16, and then tries that.
    """
    if name in THEIRS or name.startswith("DDP"):
        return int(options.warm_up)
    return int(options.settle) * (2 if name == "auto" else 1)


def compare(comm: MPI.Intracomm, options: argparse.Namespace, task: Task) -> dict[str, Any]:
    """Return each round's seconds per step, by way, and raw TCP's speed. Collective."""
    pair = connect_pair(comm)
    speed = tcp_bytes_per_s(comm, pair, FIRST_TCP_BYTES)
    total = max(1, int(speed * TCP_S) // CHUNK_BYTES) * CHUNK_BYTES
    ways = opened(comm, options.ways, task)
    for name, way in ways.items():
        seconds_per_step(comm, way, steps_before(name, options))
    tcp: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(options.rounds):
        tcp.append(tcp_bytes_per_s(comm, pair, total))
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(seconds_per_step(comm, ways[name], options.steps))
    shares = {name: list(way.shares) for name, way in ways.items()}
    for way in ways.values():
        way.close()
    return {"tcp_bytes_per_s": tcp, "seconds": seconds, "shares": shares}


def halve(comm: MPI.Intracomm, options: argparse.Namespace, task: Task) -> dict[str, Any]:
    """Let the first node's speed halve in the middle; return each step's time and shares."""
    way = way_named(options.ways[0], comm, task)
    if not isinstance(way, Ours):
        raise SystemExit(f"{options.ways[0]}: its shares never change; nothing to see")
    rows = []
    for number in range(2 * options.steps):
        if number == options.steps and comm.rank == 0:
            way.model.work.samples_per_s /= 2
        started_s = time.perf_counter()
        way.step()
        elapsed_s = float(comm.allreduce(time.perf_counter() - started_s, MPI.MAX))
        rows.append({"step_s": elapsed_s, "shares": list(way.shares)})
    way.close()
    return {"halved_at": options.steps, "steps": rows}


def main() -> None:
    """Measure, and let rank 0 write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--speeds", type=float, nargs="+", required=True, help="samples/s")
    parser.add_argument("--ways", nargs="+", required=True)
    for name in ("--rounds", "--steps", "--warm-up", "--settle"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--halve", action="store_true")
    parser.add_argument("--quotas", type=Path, nargs="*", default=[], help="where ranks go")
    parser.add_argument("--cores", type=float, default=0.0, help="how many these come to")
    options = parser.parse_args()
    comm = MPI.COMM_WORLD
    task = Task(MODELS[options.model], options.batch, options.speeds)
    if options.quotas:
        cpu_s_per_sample = options.cores / sum(options.speeds)
        product_s = seconds_per_product() if comm.rank == 0 else None
        wait_for_all(comm)  # without taking its core
        product_s = comm.bcast(product_s)
        task.products_per_sample = cpu_s_per_sample / product_s
        options.quotas[comm.rank].write_text(str(os.getpid()))
    found = (halve if options.halve else compare)(comm, options, task)
    if comm.rank == 0:
        options.found.write_text(json.dumps(found))
        if "tcp_bytes_per_s" in found:
            print(f"raw TCP {statistics.median(found['tcp_bytes_per_s']) / 1e6:.1f} MB/s")


if __name__ == "__main__":
    main()

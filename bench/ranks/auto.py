"""Train as a script does that leaves all to ``auto``, and see what it predicts and what it takes.

It has a world of its own: machines that rest do not come out of the loop until its end, so that its
steps cannot be taken in turn with those of others.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import mean

from mpi4py import MPI

from bench.ranks.shapes import MODELS
from bench.ranks.virtual import expected_after
from bench.ranks.ways import EXACT, Task
from beowulf import train
from beowulf.durable import read_json, read_json_lines

SETTLE = 40  # it has planned, and looked whether the plan keeps its promise


def main() -> None:
    """Train, and let rank 0 write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("found", type=Path)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--speeds", type=float, nargs="+", required=True, help="samples/s")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    options, _ = parser.parse_known_args()
    comm = MPI.COMM_WORLD
    task = Task(MODELS[options.model], options.batch, options.speeds)
    directory = comm.bcast(tempfile.mkdtemp(prefix="job-") if comm.rank == 0 else None)
    Path(directory, "heartbeat").mkdir(exist_ok=True)
    os.environ["BEOWULF_JOB_DIR"] = directory
    model = task.model(comm)
    first = float(model.weights[0].detach().reshape(-1)[0])
    steps = SETTLE + options.rounds * options.steps
    with train.Run(global_batch=options.batch, checkpoint_every_s=None) as run:
        run.track(model=model)
        for batch in run.batches(options.batch, steps=steps):
            model.zero_grad()
            for part in batch:
                model.work.take(part)
                model().backward()
            run.average(model)
            model.update()
    found = float(model.weights[0].detach().reshape(-1)[0])
    wanted = expected_after(steps, first, options.batch)
    if abs(found - wanted) > EXACT:
        raise SystemExit(f"auto: a weight is {found:.5f}, and should be {wanted:.5f}")
    if comm.rank == 0:
        lines = read_json_lines(Path(directory, "metrics.jsonl"))[SETTLE:]
        times = [line["step_s"] for line in lines]
        rounds = [times[i : i + options.steps] for i in range(0, len(times), options.steps)]
        result = read_json(Path(directory, "result.json"))
        figures = {name: result[name] for name in ("strategy", "predicted_step_s", "step_s")}
        document = {
            "seconds": {"auto": [mean(some) for some in rounds]},
            "shares": {"auto": lines[-1]["shares"]},
            "auto": figures,
        }
        options.found.write_text(json.dumps(document))


if __name__ == "__main__":
    main()

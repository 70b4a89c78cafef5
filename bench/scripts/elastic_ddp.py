"""Train what the lab's jobs train, with PyTorch's DDP: what torchrun starts for bench.elastic.

Arguments: steps, the pause of each in seconds, steps between checkpoints, a directory that all
nodes see, and gloo's time-out in seconds. Rank 0 writes a line per step, as ``beowulf`` jobs do.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import without_libuv  # noqa: F401 - for what it changes in PyTorch

GLOBAL_BATCH, SAMPLES, FEATURES = 64, 512, 20


def main() -> None:
    """Train from the newest checkpoint on."""
    steps, pause_s, every_steps = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    place = Path(sys.argv[4])
    dist.init_process_group("gloo", timeout=timedelta(seconds=float(sys.argv[5])))
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES)
    answers = inputs @ torch.randn(FEATURES, 1) + torch.randn(SAMPLES, 1)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(FEATURES, 1, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    begun = load(place, model, optimizer)
    with (place / "metrics.jsonl").open("a", buffering=1) as lines:
        for step in range(begun + 1, steps + 1):
            chosen = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(step))
            mine = chosen[:GLOBAL_BATCH][rank::world]
            optimizer.zero_grad()
            loss = 0.5 * ((model(inputs[mine]) - answers[mine]) ** 2).mean()
            time.sleep(pause_s)
            loss.backward()
            optimizer.step()
            if rank == 0:
                told = {"step": step, "loss": loss.item(), "ranks": world, "time": time.time()}
                lines.write(json.dumps(told) + "\n")
                if step % every_steps == 0:
                    save(place, model, optimizer, step)
    dist.destroy_process_group()


def load(place: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take over the newest checkpoint, if there is one; return its step."""
    path = place / "checkpoint.pt"
    if not path.exists():
        return 0
    kept = torch.load(path, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    return int(kept["step"])


def save(place: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write a checkpoint, whole or not at all."""
    written = place / f"checkpoint.pt.{os.getpid()}"  # PyTorch writes to no hidden file
    kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(kept, written)
    written.replace(place / "checkpoint.pt")


if __name__ == "__main__":
    main()

"""Distributed training on mpi4py.

A single-machine script becomes a distributed one so::

    with train.Run(global_batch=64) as run:                    # 1. open a run
        images, labels = run.dataset(load)                     # 2. load the data once per node
        run.track(weights=weights)                             # 3. name what to keep safe
        for batch in run.batches(len(images), epochs=20):      # 4. take batches from it
            gradients, loss = zeros_like(weights), 0.0
            for part in batch:                                 #    this rank's samples
                ...add the sums over images[part] to both...
            run.average(gradients, loss)                       # 5. average over all ranks
            weights -= rate * gradients

The loop stays the script's own. The global batch is the contract: how many ranks
there are and how unequal their shares changes how fast a step is, never what it computes.
"""

import os

# The wheel's Open MPI prints an error about a component for hardware that is not there.
os.environ.setdefault("OMPI_MCA_osc", "^ucx")

from beowulf.train.options import DiLoCo, Fp16, PowerSGD, Weighted
from beowulf.train.pictures import draw_loss_curve
from beowulf.train.run import Run

__all__ = ["DiLoCo", "Fp16", "PowerSGD", "Run", "Weighted", "draw_loss_curve"]

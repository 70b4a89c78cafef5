"""Keep the running statistics of normalisation layers equal on all ranks.

Each rank's layers follow the mean and variance of its own samples. The statistics of
all samples are their mean, weighted by how many samples each rank had: exactly for the
mean; for the variance without the part that lies between the ranks' means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RunningStatistics:
    """The running means and variances of a module's normalisation layers, as one vector."""

    def __init__(self, module: torch.nn.Module) -> None:
        layers = torch.nn.modules.batchnorm._NormBase  # noqa: SLF001 - what all of them share
        self._buffers = [
            (layer, buffer)
            for layer in module.modules()
            if isinstance(layer, layers) and layer.track_running_stats
            for buffer in (layer.running_mean, layer.running_var, layer.num_batches_tracked)
            if buffer is not None
        ]
        self.size = sum(buffer.numel() for _, buffer in self._buffers)

    def weighted(self, samples: int) -> NDArray[np.float64]:
        """Return the statistics times the number of samples that this rank had."""
        parts = [buffer.detach().cpu().double().reshape(-1) for _, buffer in self._buffers]
        if not parts or not samples:
            return np.zeros(self.size)
        weighted: NDArray[np.float64] = torch.cat(parts).numpy() * samples
        return weighted

    def take(self, mean: NDArray[np.floating]) -> None:
        """Set the statistics of those layers that are being trained to ``mean``."""
        first = 0
        for layer, buffer in self._buffers:
            values = torch.from_numpy(mean[first : first + buffer.numel()]).reshape(buffer.shape)
            first += buffer.numel()
            if layer.training:
                integral = not buffer.dtype.is_floating_point
                buffer.copy_(values.round() if integral else values)

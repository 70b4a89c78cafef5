"""Choose where jobs run: on this computer, or on one of the clusters in the configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beowulf.runner.backend import Backend


def open_backend(cluster: str | None) -> Backend:
    """Return the place that ``cluster`` names; without a name, the default cluster.

    Raises:
        ClusterNotFound: The configuration has no cluster of this name.
        InvalidInput: The configuration cannot be read.
    """
    from beowulf.cluster.configuration import (  # noqa: PLC0415 - TOML is slow to import
        choose,
        read_configuration,
    )

    entry = choose(read_configuration(), cluster, os.environ)
    if entry is None:
        from beowulf.runner.local import LocalBackend  # noqa: PLC0415 - likewise

        return LocalBackend()
    from beowulf.runner.slurm import SlurmBackend  # noqa: PLC0415 - as late as may be
    from beowulf.transport.opening import connect  # noqa: PLC0415

    return SlurmBackend(entry.name, connect(entry))

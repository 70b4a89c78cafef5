"""The cluster that a verb about machines is meant for, with the way to it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from beowulf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beowulf.transport.connection import Connection


@contextlib.contextmanager
def chosen_cluster(name: str | None) -> Iterator[tuple[str, Connection]]:
    """Yield the name of the cluster that is meant, and a connection that is closed at the end.

    Raises:
        InvalidInput: There is no cluster yet, or this computer is meant, which is none.
        ClusterNotFound: None has this name.
    """
    from beowulf.cluster.configuration import (  # noqa: PLC0415 - as late as may be
        choose,
        read_configuration,
    )
    from beowulf.transport.opening import connect  # noqa: PLC0415 - paramiko is slow to import

    configuration = read_configuration()
    entry = choose(configuration, name, os.environ)
    if entry is None and configuration.clusters:
        known = ", ".join(sorted(configuration.clusters))
        raise InvalidInput("--cluster", "this computer is no cluster", f"name one of: {known}")
    if entry is None:
        remedy = "add one with: beowulf cluster add NAME USER@HOST"
        raise InvalidInput("--cluster", "no cluster yet", remedy)
    connection = connect(entry)
    try:
        yield entry.name, connection
    finally:
        connection.close()

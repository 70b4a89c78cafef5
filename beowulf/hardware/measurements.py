"""What was measured last, as the cluster itself keeps it for the user's jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from beowulf.job.measured import Measured, parse_measured

if TYPE_CHECKING:
    from beowulf.transport.connection import Connection

SCRIPT = 'cat "$HOME/beowulf/measured.json"'
TIMEOUT_S = 30


def ask_measured(connection: Connection) -> Measured | None:
    """Return what was measured of a cluster from wherever it was, or None if nothing was.

    Raises:
        Unreachable, AccessDenied: There is no way to the head.
    """
    done = connection.run(("sh", "-c", SCRIPT), timeout_s=TIMEOUT_S, check=False)
    try:
        return parse_measured(json.loads(done.output))
    except (ValueError, RecursionError):
        return None

"""Switch one node on: ``python -m beowulf.lab.wake LAB NODE``, for the lab's keeper."""

from __future__ import annotations

import sys

from beowulf.errors import BeowulfError
from beowulf.lab.directory import lab_directory
from beowulf.lab.power import switch_on
from beowulf.lab.settings import read_settings


def main(lab: str, node: str) -> int:
    """Switch the node on and return the exit status; complaints go to the keeper's log."""
    try:
        directory = lab_directory(lab)
        settings = read_settings(directory)
        (machine,) = settings.chosen([node])
        switch_on(settings.supply(directory), machine)
    except BeowulfError as error:
        print(f"{node} was not woken: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

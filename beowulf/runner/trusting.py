"""Ask the head how far the cluster's nodes can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beowulf.job.trust import Trust
from beowulf.runner.head_program import HeadProgram

if TYPE_CHECKING:
    from beowulf.transport.connection import Connection


def ask_trust(connection: Connection, forgiven: str | None = None) -> dict[str, Trust]:
    """Return the trust in each node of which anything is known, by name.

    What was before counts no more for the node ``forgiven``.

    Raises:
        InvalidInput: It is no node's name, or that cannot be written down.
        Unreachable, AccessDenied, CommandFailed: There is no way to the head, or no program.
    """
    with HeadProgram(connection).ask("trust", node=forgiven) as dialogue:
        told = dialogue.answer().document["trust"]
    return {trust.node: trust for trust in map(Trust.from_json, told)}

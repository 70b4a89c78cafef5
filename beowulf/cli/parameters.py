"""Command-line parameters that several verbs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from beowulf.errors import BeowulfError

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

F = TypeVar("F", bound="Callable[..., Any] | click.Command")


class JobId(click.ParamType[str]):
    """A job's ID, completed by the shell with the state it is in."""

    name = "id"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,
        incomplete: str,
    ) -> list[CompletionItem]:
        """Offer the jobs that there are, newest first."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only at a Tab

        from beowulf.runner.choice import open_backend  # noqa: PLC0415

        try:
            records = open_backend(ctx.params.get("cluster")).records()
        except BeowulfError:  # the command itself will say so; here it would mix with the typing
            return []
        return [
            CompletionItem(record.id, help=f"{record.name} {record.state}")
            for record in reversed(records)
            if record.id.startswith(incomplete)
        ]


def job_argument(**settings: Any) -> Callable[[F], F]:
    """Return the argument that names one job, or several with ``nargs=-1``."""
    names = "job_ids" if settings.get("nargs") == -1 else "job_id"
    return click.argument(names, metavar="[ID]" if names == "job_id" else "ID...",
                          type=JobId(), **settings)  # fmt: skip


cluster_option = click.option(
    "--cluster",
    metavar="NAME",
    envvar="BEOWULF_CLUSTER",
    help="Which cluster; 'local' is this computer. Left out: the default cluster.",
)

"""``beowulf lab``: its verbs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from beowulf.cli.lab_output import Progress, print_nodes
from beowulf.cli.output import json_option, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from beowulf.lab.directory import LabDirectory

F = TypeVar("F", bound="Callable[..., Any]")


def lab_option(function: F) -> F:
    """Let a verb take the lab's name."""
    option = click.option(
        "--lab", "lab", default="lab", envvar="BEOWULF_LAB", show_default=True, metavar="NAME",
        help="Which lab; there may be several side by side.  [env: BEOWULF_LAB]",
    )  # fmt: skip
    return option(function)


def inventory_option(function: F) -> F:
    """Let a verb take the inventory that describes the lab."""
    option = click.option(
        "--inventory", type=click.Path(path_type=Path), default=Path("inventory/lab"),
        show_default=True, envvar="BEOWULF_INVENTORY",
        help="The Ansible inventory that states the machines.  [env: BEOWULF_INVENTORY]",
    )  # fmt: skip
    return option(function)


class NodeName(click.ParamType[str]):
    """A node's name, completed by the shell."""

    name = "node"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the nodes of the lab that is meant."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only at a Tab

        from beowulf.errors import BeowulfError  # noqa: PLC0415
        from beowulf.lab.settings import read_settings  # noqa: PLC0415

        lab = ctx.params.get("lab") or os.environ.get("BEOWULF_LAB") or "lab"
        try:
            machines = read_settings(_directory(lab)).plan.machines
        except BeowulfError:
            return []
        return [CompletionItem(m.name) for m in machines if m.name.startswith(incomplete)]


node_argument = click.argument("node", type=NodeName())
nodes_argument = click.argument("nodes", nargs=-1, type=NodeName(), metavar="[NODE]...")


def _directory(name: str) -> LabDirectory:
    from beowulf.lab.directory import lab_directory  # noqa: PLC0415 - only for the verb itself

    return lab_directory(name)


class InOrder(click.Group):
    """Verbs in the order in which people need them, which is that of this file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs."""
        return list(self.commands)


@click.group("lab", cls=InOrder)
def command() -> None:
    """Run a lab of virtual machines on this computer.

    Each node is a machine with a kernel, systemd and sshd of its own (User-Mode Linux: no
    virtualization needed), in a network of its own from which no packet leaves.
    Machines are stated in an Ansible inventory. Needs root, but for status.
    """


@command.command(short_help="Bring nodes up, until one can log in to each.")
@nodes_argument
@lab_option
@inventory_option
@click.option("--image", type=click.Choice(["bare", "prepared"]),
              help="What a new lab's nodes have installed.  [default: bare]")  # fmt: skip
def up(nodes: tuple[str, ...], lab: str, inventory: Path, image: str | None) -> None:
    """Bring nodes up, all unless some are named, until one can log in to each."""
    from beowulf.lab.lab import up as bring_up  # noqa: PLC0415

    directory = _directory(lab)
    with Progress(nodes) as progress:
        try:
            bring_up(directory, inventory, image, nodes, progress.report)
        except KeyboardInterrupt:
            progress.report("lab", "interrupted: nodes that were started stay on")
            raise
    if not sys.stderr.isatty():  # a program is calling, which knows
        return
    say(f"  log in: {directory.command('ssh')} {nodes[0] if nodes else progress.first or 'NODE'}")
    say(f"  look:   {directory.command('status')}")
    say(f"  remove: {directory.command('destroy')}")


@command.command()
@nodes_argument
@lab_option
@inventory_option
@json_option
def status(nodes: tuple[str, ...], lab: str, inventory: Path, as_json: bool) -> None:
    """Show each node: on or off, its cable, what its disk holds."""
    from beowulf.lab.status import description  # noqa: PLC0415
    from beowulf.lab.status import status as look  # noqa: PLC0415

    directory = _directory(lab)
    made, found = look(directory, inventory, nodes)
    if as_json:
        print_json(lab=description(directory, made, found))
        return
    if not made:
        say(f"there is no lab {lab} yet; beowulf lab up would make it:")
    print_nodes(found)


# What stands behind the node is the node's, -h too.
@command.command(context_settings={"allow_interspersed_args": False})
@lab_option
@node_argument
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
def ssh(node: str, words: tuple[str, ...], lab: str) -> None:
    """Log in to a node, or run a command there. Its host key is verified."""
    from beowulf.lab.access import enter  # noqa: PLC0415

    enter(_directory(lab), node, words)


@command.command()
@nodes_argument
@lab_option
def down(nodes: tuple[str, ...], lab: str) -> None:
    """Shut nodes down, all unless some are named. Their disks stay."""
    from beowulf.lab.lab import down as shut_down  # noqa: PLC0415

    with Progress(nodes) as progress:
        shut_down(_directory(lab), nodes, progress.report)


@command.command()
@nodes_argument
@lab_option
def destroy(nodes: tuple[str, ...], lab: str) -> None:
    """Remove nodes and their disks; with all of them the whole lab."""
    from beowulf.lab.lab import destroy as remove  # noqa: PLC0415

    with Progress(nodes) as progress:
        remove(_directory(lab), nodes, progress.report)


@command.command()
@node_argument
@click.argument("action", type=click.Choice(["on", "off", "cycle", "pause", "resume"]))
@lab_option
def power(node: str, action: str, lab: str) -> None:
    """Give a node power or take it away, as pulling its plug would.

    pause freezes it: it keeps its connections and answers nothing until resume.
    """
    from beowulf.lab.controls import set_power  # noqa: PLC0415

    set_power(_directory(lab), node, action)


@command.command(short_help="Pull a node's cable out, make it slow, or heal it.")
@node_argument
@click.argument("action", type=click.Choice(["cut", "heal", "rate"]))
@click.argument("rate", required=False)
@lab_option
def cable(node: str, action: str, rate: str | None, lab: str) -> None:
    """Pull a node's network cable out (cut), make it slow (rate 100mbit), or heal it."""
    from beowulf.lab.controls import set_cable  # noqa: PLC0415

    if (action == "rate") != (rate is not None):
        raise click.UsageError("a rate goes with the action rate, as in: cable node1 rate 100mbit")
    set_cable(_directory(lab), node, action, rate or "")


@command.command(short_help="Keep the nodes' disks under a name, or go back to them.")
@click.argument("action", type=click.Choice(["save", "restore", "delete", "list"]))
@click.argument("name", required=False)
@lab_option
def snapshot(action: str, name: str | None, lab: str) -> None:
    """Keep the nodes' disks under a name, or go back to them (power cut and boot).

    Saving under a name that there is replaces that snapshot.
    """
    from beowulf.lab import snapshot as snapshots  # noqa: PLC0415

    if (name is None) != (action == "list"):
        raise click.UsageError(
            "list stands alone, the others need a name, as in: snapshot save one"
        )
    if name is None:
        click.echo("".join(f"{known}\n" for known in snapshots.names(_directory(lab))), nl=False)
        return
    with Progress() as progress:
        getattr(snapshots, action)(_directory(lab), name, progress.report)


@command.command()
@click.argument("kind", type=click.Choice(["bare", "prepared"]), required=False)
@click.option("--rebuild", is_flag=True, help="Make it anew, with today's packages.")
@click.option("--remove-unused", is_flag=True, help="Remove the images that no lab stands on.")
def image(kind: str | None, rebuild: bool, remove_unused: bool) -> None:
    """Make an image ahead of time, and print where its disk is."""
    from beowulf.lab.lab import make_image, remove_images  # noqa: PLC0415

    if (kind is None) != remove_unused or (rebuild and remove_unused):
        raise click.UsageError("name the image to make, or say --remove-unused and nothing else")
    if kind is None:
        for directory in remove_images():
            say(f"removed {directory}")
        return
    with Progress() as progress:
        disk = make_image(kind, rebuild=rebuild, report=progress.report)
    click.echo(disk)


@command.command()
@click.option("--rebuild", is_flag=True, help="Compile it anew, from today's source.")
def kernel(rebuild: bool) -> None:
    """Compile a kernel that makes nodes twice as fast, and print where it is.

    It takes some ten minutes, once. Images that are made from then on have it; labs that exist
    keep what they were made with.
    """
    from beowulf.lab.lab import make_kernel  # noqa: PLC0415

    with Progress() as progress:
        program = make_kernel(rebuild=rebuild, report=progress.report)
    click.echo(program)


@command.command("list")
@json_option
def list_labs(as_json: bool) -> None:
    """List the labs on this computer."""
    from beowulf.lab.directory import lab_names  # noqa: PLC0415

    names = lab_names()
    if as_json:
        print_json(labs=[{"name": name} for name in names])
    elif names:
        click.echo("\n".join(names))
    else:
        say("no lab yet; make one with: beowulf lab up")

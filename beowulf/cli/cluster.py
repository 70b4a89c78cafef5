"""``beowulf cluster``: its verbs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from beowulf.cli.output import json_option, print_json, say
from beowulf.errors import BeowulfError, CommandFailed, HostKeyMismatch, InvalidInput, one_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from beowulf.cluster.configuration import ClusterEntry, Configuration
    from beowulf.transport.connection import Connection
    from beowulf.transport.host_key import HostKey
    from beowulf.transport.ssh_config import Address

# One round trip. The first two lines are there wherever Slurm is installed; the third, the
# number of nodes, only if it answers. A word of Slurm's own about why it does not comes last.
SURVEY = 'id -un && sinfo -V && nodes=$(sinfo -h -N -o %N) && echo "$nodes" | sort -u | wc -l'
SURVEY_TIMEOUT_S = 60


class ClusterName(click.ParamType[str]):
    """A cluster's name, completed by the shell."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the clusters that there are."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only at a Tab

        from beowulf.cluster.configuration import read_configuration  # noqa: PLC0415

        try:
            names = read_configuration().clusters
        except BeowulfError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.group("cluster")
def command() -> None:
    """Say which clusters there are, and how to reach their heads.

    They are kept in $XDG_CONFIG_HOME/beowulf/config.toml, each with the host key that its
    head must show. How to get there is for ssh's own configuration to say: aliases, keys,
    jump hosts.
    """


@command.command(short_help="Add a cluster, after a look at its head's host key.")
@click.argument("name")
@click.argument("head", metavar="[USER@]HOST[:PORT]")
@click.option("--fingerprint", metavar="SHA256:...",
              help="The host key's fingerprint, from its administrator.")  # fmt: skip
@click.option("--default", "as_default", is_flag=True, help="Have jobs go there from now on.")
def add(name: str, head: str, fingerprint: str | None, as_default: bool) -> None:
    """Add a cluster, after a look at its head's host key, and log in there once.

    The host key is shown, and kept if you say yes; any other is refused from then on. The
    first cluster that is added becomes the default. The head "local" is this computer.
    """
    from beowulf.cluster import configuration as clusters  # noqa: PLC0415 - for this verb only
    from beowulf.transport.opening import THIS_COMPUTER, connect  # noqa: PLC0415
    from beowulf.transport.ssh_config import parse_address  # noqa: PLC0415

    clusters.check_name(name)
    configuration = clusters.read_configuration()
    if head == THIS_COMPUTER:
        entry = clusters.ClusterEntry(name, head)
    else:
        address = parse_address(head)
        key = _believed_key(configuration.clusters.get(name), name, address, fingerprint)
        entry = clusters.ClusterEntry(name, address.host, address.user, address.port, str(key))
    connection = connect(entry)
    try:
        found = survey(connection)
    finally:
        connection.close()
    configuration = configuration.having(entry)
    if as_default:
        configuration = configuration.with_default(name)
    clusters.write_configuration(configuration)
    where = "the default" if configuration.default == name else f"use it: --cluster {name}"
    say(f"added {name} ({where}): {found} on {connection.name}")


def _believed_key(
    known: ClusterEntry | None, name: str, address: Address, fingerprint: str | None
) -> HostKey:
    """Return the head's host key once it is believed: it was known, or told, or is agreed to.

    Raises:
        HostKeyMismatch: It is another one than was known or told.
        InvalidInput: Nobody can be asked, or the fingerprint is none.
        click.Abort: The person does not agree.
    """
    from beowulf.transport.host_key import parse_fingerprint, parse_host_key  # noqa: PLC0415
    from beowulf.transport.ssh import first_contact, search_host_key  # noqa: PLC0415

    pinned = parse_host_key(known.host_key) if known and known.host_key else None
    expected = parse_fingerprint(fingerprint) if fingerprint else None
    if expected is None and pinned is None and not _can_ask():
        raise InvalidInput(
            "--fingerprint",
            "there is no terminal on which to agree to the head's host key",
            f"type: beowulf cluster add {name} {address} --fingerprint SHA256:...",
        )
    if expected is not None:
        key = search_host_key(address, expected)
    else:
        key = first_contact(address, kind=pinned.kind if pinned else None)
    if pinned is not None and key != pinned:
        raise HostKeyMismatch(
            f"{address}: its host key is {key.fingerprint} ({key.kind}), but "
            f"{pinned.fingerprint} ({pinned.kind}) is pinned for {name}; once its administrator "
            f"says why, type: beowulf cluster remove {name}"
        )
    if expected is not None and key.fingerprint != expected:
        raise HostKeyMismatch(
            f"{address}: its host key is {key.fingerprint} ({key.kind}), not {expected}; ask its "
            f"administrator, or check the address"
        )
    if expected is None and pinned is None:
        say(f"{address} shows a host key of type {key.kind}:\n  {key.fingerprint}")
        say("Compare it: on the head, ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints it.")
        if not click.confirm("Is it the right one?", err=True):
            raise HostKeyMismatch(f"{address}: its host key was not agreed to; nothing was added")
    return key


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


@dataclass(frozen=True)
class Found:
    """What was found on a cluster's head: who one is there, and its Slurm."""

    user: str
    slurm: str
    nodes: int | None
    trouble: str = ""

    def __str__(self) -> str:
        """Return it in a few words."""
        if self.nodes is None:
            return f"user {self.user}, {self.slurm}, which does not answer ({self.trouble})"
        return f"user {self.user}, {self.slurm}, {self.nodes} node{'' if self.nodes == 1 else 's'}"


def survey(connection: Connection) -> Found:
    """Log in to a cluster's head and look for Slurm.

    Raises:
        CommandFailed: There is none.
        BeowulfError: There is no way to it.
    """
    told = connection.run(["sh", "-c", SURVEY], timeout_s=SURVEY_TIMEOUT_S, check=False)
    lines = [one_line(line) for line in told.output.splitlines()]
    if len(lines) < 2:
        raise CommandFailed(
            f"{connection.name}: there is no Slurm (sinfo was not found), so it is no cluster's "
            f"head; nothing was added"
        )
    if told.status == 0 and len(lines) > 2 and lines[2].strip().isdigit():
        return Found(lines[0], lines[1], int(lines[2]))
    said = told.errors.strip().splitlines()
    return Found(lines[0], lines[1], None, one_line(said[-1])[:200] if said else "no word")


@command.command("list")
@json_option
def list_clusters(as_json: bool) -> None:
    """List the clusters that were added."""
    configuration = _read()
    if as_json:
        print_json(clusters=[
            {
                "name": entry.name, "host": entry.host, "user": entry.user, "port": entry.port,
                "fingerprint": fingerprint_of(entry), "default": name == configuration.default,
            }
            for name, entry in configuration.clusters.items()
        ])  # fmt: skip
        return
    if not configuration.clusters:
        say("no cluster yet; add one with: beowulf cluster add NAME USER@HOST")
        return
    width = max(len(name) for name in configuration.clusters)
    for name, entry in configuration.clusters.items():
        mark = "*" if name == configuration.default else " "
        click.echo(
            f"{mark} {name:{width}}  {_head_of(entry)}  {fingerprint_of(entry) or ''}".rstrip()
        )


def _head_of(entry: ClusterEntry) -> str:
    from beowulf.transport.ssh_config import Address  # noqa: PLC0415 - for this verb only

    return str(Address(entry.host, entry.user, entry.port))


def fingerprint_of(entry: ClusterEntry) -> str | None:
    """Return the fingerprint of the host key that is pinned, if one is."""
    from beowulf.transport.host_key import parse_host_key  # noqa: PLC0415 - for this verb only

    if entry.host_key is None:
        return None
    return parse_host_key(entry.host_key, f"clusters.{entry.name}.host_key").fingerprint


def _read() -> Configuration:
    from beowulf.cluster.configuration import read_configuration  # noqa: PLC0415 - as late as may be

    return read_configuration()


@command.command()
@click.argument("name", type=ClusterName())
def remove(name: str) -> None:
    """Forget a cluster and its head's host key. Nothing changes there."""
    from beowulf.cluster.configuration import write_configuration  # noqa: PLC0415

    before = _read()
    after = before.without(name)
    write_configuration(after)
    if before.default == name:
        say("it was the default; jobs now run on this computer, or: beowulf cluster default NAME")


@command.command(short_help="Print the cluster that jobs go to, or choose it.")
@click.argument("name", type=ClusterName(), required=False)
def default(name: str | None) -> None:
    """Print the cluster that jobs go to when none is named, or choose it.

    "local" is this computer.
    """
    from beowulf.cluster.configuration import LOCAL, write_configuration  # noqa: PLC0415

    configuration = _read()
    if name is None:
        click.echo(configuration.default or LOCAL)
    else:
        write_configuration(configuration.with_default(name))
